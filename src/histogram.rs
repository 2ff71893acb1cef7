//! Quantiles of a histogram whose buckets count everything up to their bound, as Prometheus exposes them.
//!
//! Pure. Must not know what is measured, nor in which unit.

/// The value that this part of the samples did not exceed: between the bounds of its bucket in proportion, as Prometheus estimates it.
///
/// The buckets come in the order of their bounds; the last one is infinite and counts every sample. Beyond the last finite bound
/// nothing is known but that bound. None without samples.
pub(crate) fn quantile(buckets: &[(f64, u64)], part: f64) -> Option<f64> {
    let total = buckets.last().map(|(_, count)| *count).filter(|total| *total > 0)?;
    let rank = total as f64 * part;
    let (mut lower, mut below) = (0.0, 0);
    for (bound, count) in buckets {
        if *count as f64 >= rank {
            if bound.is_infinite() {
                break;
            }
            let inside = count.saturating_sub(below).max(1) as f64;
            return Some(lower + (bound - lower) * (rank - below as f64) / inside);
        }
        (lower, below) = (*bound, *count);
    }
    Some(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_between_the_bounds_of_its_bucket() {
        let buckets = [(1.0, 0), (10.0, 90), (100.0, 100), (f64::INFINITY, 100)];
        assert_eq!(quantile(&buckets, 0.5), Some(1.0 + 9.0 * 50.0 / 90.0));
        assert_eq!(quantile(&buckets, 0.95), Some(10.0 + 90.0 * 0.5));
        assert_eq!(quantile(&buckets, 0.0), Some(0.0));
        assert_eq!(quantile(&buckets, 1.0), Some(100.0));
    }

    #[test]
    fn a_quantile_is_none_without_samples_and_the_last_bound_beyond_it() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[(1.0, 0), (f64::INFINITY, 0)], 0.5), None);
        assert_eq!(quantile(&[(1.0, 0), (f64::INFINITY, 3)], 0.5), Some(1.0));
    }
}
