//! Runs a target without libFuzzer: over files, and over seeds mutated by a generator that gives the same each time.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A fuzz target.
pub type Target = fn(&[u8]);

/// Longest input: long enough to pass every bound that the seeds come near to.
const INPUT_BYTES_MAX: usize = 4096;

/// Runs the target over the seeds, then over `runs` mutations of them.
pub fn run(target: Target, seeds: &[&[u8]], runs: u64) {
    for seed in seeds {
        one(target, seed);
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..runs {
        one(target, &mutate(seeds, &mut random));
    }
}

/// The whole of a replaying program: `NAME [--runs N] [--write-seeds FOLDER] [FILE OR FOLDER]…`, or `--list`.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    if name == "--list" {
        super::TARGETS.iter().for_each(|named| println!("{}", named.name));
        return ExitCode::SUCCESS;
    }
    let Some(named) = super::find(&name) else {
        eprintln!("there is no target {name:?}; --list shows them all");
        return ExitCode::from(64);
    };
    let mut runs = 100_000;
    while let Some(argument) = arguments.next() {
        let done = match argument.as_str() {
            "--runs" => match arguments.next().and_then(|count| count.parse().ok()) {
                Some(count) => {
                    runs = count;
                    Ok(())
                }
                None => {
                    eprintln!("--runs needs a number, as in --runs 1000000");
                    return ExitCode::from(64);
                }
            },
            "--write-seeds" => write_seeds(named.seeds, Path::new(&arguments.next().unwrap_or_default())),
            file => files(Path::new(file), named.target),
        };
        if let Err(error) = done {
            eprintln!("failed at {argument}: {error}");
            return ExitCode::from(2);
        }
    }
    run(named.target, named.seeds, runs);
    println!("{} seeds and {runs} mutations hold", named.seeds.len());
    ExitCode::SUCCESS
}

/// Writes the seeds as files, for libFuzzer to start from.
fn write_seeds(seeds: &[&[u8]], folder: &Path) -> std::io::Result<()> {
    for (number, seed) in seeds.iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{number}")), seed)?;
    }
    Ok(())
}

/// Runs the target over a file, or over the files of a folder.
pub fn files(path: &Path, target: Target) -> std::io::Result<()> {
    let mut files = vec![PathBuf::from(path)];
    if path.is_dir() {
        files = std::fs::read_dir(path)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        files.retain(|file| file.is_file());
        files.sort();
    }
    for file in &files {
        one(target, &std::fs::read(file)?);
    }
    Ok(())
}

/// Runs the target once; where it panics, the input is shown, ready to be pasted into a test.
fn one(target: Target, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        eprintln!("input: b\"{}\"", input.escape_ascii());
        resume_unwind(panic);
    }
}

/// Xorshift: not random enough for anything but this.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound.max(1)
    }
}

/// Bytes that parsers care about.
const TELLING: &[u8] = b"\r\n\0 \t:;,=\"\\/?#%@[]{}()09afAFxX_-.\x7f\x80\xff\x01";

fn mutate(seeds: &[&[u8]], random: &mut Random) -> Vec<u8> {
    let pick = |random: &mut Random| seeds.get(random.below(seeds.len())).copied().unwrap_or_default();
    let mut input = pick(random).to_vec();
    for _ in 0..=random.below(6) {
        let at = random.below(input.len() + 1);
        let end = at + random.below(input.len() - at + 1).min(24);
        let byte = TELLING[random.below(TELLING.len())];
        match random.below(7) {
            0 => input.insert(at, byte),
            1 => drop(input.drain(at..end)),
            2 => input.extend_from_within(at..end),
            3 => input.truncate(at),
            4 => {
                let other = pick(random);
                let from = random.below(other.len() + 1);
                input.splice(at..end, other[from..].iter().copied());
            }
            5 => input.extend(std::iter::repeat_n(byte, random.below(80))),
            _ => {
                if let Some(place) = input.get_mut(at) {
                    *place = if random.below(2) == 0 { byte } else { *place ^ (1 << random.below(8)) };
                }
            }
        }
        input.truncate(INPUT_BYTES_MAX);
    }
    input
}
