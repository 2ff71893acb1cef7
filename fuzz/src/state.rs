//! Any bytes as the file of the rollout's state, and any content behind a first line that fits.

use mcp_guard::fuzzing::{sealed_state, state};

/// Where mutation starts.
pub const SEEDS: &[&[u8]] = &[
    b"",
    b"mcp-guard-rollout 1 0000000000000000000000000000000000000000000000000000000000000000\n{}\n",
    b"mcp-guard-rollout 2 x\n",
    b"{\"state\":{\"stable\":\"blue\",\"spare\":false,\"seq\":1,\"run\":null},\"history\":[]}",
    b"{\"state\":{\"stable\":\"green\",\"spare\":true,\"seq\":6,\"run\":null},\"history\":[{\"seq\":4,\"at\":1795261691024,\"rollout\":\"r3\",\"kind\":\"advanced\",\"from\":{\"stable\":\"blue\",\"stage\":\"canary\",\"step\":1,\"weight\":50,\"paused\":false},\"to\":{\"stable\":\"blue\",\"stage\":\"candidate_only\",\"step\":2,\"weight\":100,\"paused\":false},\"cause\":{\"by\":\"analysis\",\"conclusion\":{\"verdict\":\"pass\"}},\"numbers\":{\"candidate\":{\"requests\":69,\"failures\":0,\"tool_errors\":0,\"error_rate\":0.0,\"p50_ms\":22.271,\"p95_ms\":31.743000000000002},\"stable\":{\"requests\":3,\"failures\":0,\"tool_errors\":0,\"error_rate\":0.0,\"p50_ms\":15.295,\"p95_ms\":17.535},\"shadow\":{\"requests\":0,\"failures\":0,\"mismatched\":0}}}]}",
];

/// A file is refused, or means what it says: written again it is read as the same. Nothing that is cut off or changed in
/// one bit is taken.
pub fn target(data: &[u8]) {
    check(data);
    let sealed = sealed_state(data);
    check(&sealed);
    if state(&sealed).is_some() {
        for end in [sealed.len() - 1, sealed.len() / 2, sealed.len().min(100)] {
            assert_eq!(state(&sealed[..end]), None, "cut at {end}");
        }
        let mut flipped = sealed.clone();
        let at = usize::from(data.first().copied().unwrap_or(0)) * sealed.len() / 256;
        flipped[at] ^= 1;
        assert_eq!(state(&flipped), None, "bit at {at}");
    }
}

fn check(file: &[u8]) {
    if let Some(written) = state(file) {
        assert_eq!(state(&written).as_ref(), Some(&written));
    }
}
