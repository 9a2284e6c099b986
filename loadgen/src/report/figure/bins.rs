//! Fewer points without another picture: thinning by extremes.

/// Keeps, of each of `columns` equal spans of x, the first, lowest, highest and last point, in their order.
///
/// A line through what is kept covers the same pixels as the line through everything, which taking every n-th point
/// would not: a single spike survives. Points must be ordered by x.
pub(super) fn thin(points: &[(f64, f64)], columns: usize) -> Vec<(f64, f64)> {
    if points.len() <= columns * 4 {
        return points.to_vec();
    }
    let (first, last) = (points[0].0, points[points.len() - 1].0);
    let width = ((last - first) / columns as f64).max(f64::MIN_POSITIVE);
    let column = |x: f64| ((x - first) / width) as usize;
    let mut kept = Vec::new();
    let mut rest = points;
    while let Some(&(x, _)) = rest.first() {
        let here = column(x);
        let end = rest.iter().position(|&(x, _)| column(x) != here).unwrap_or(rest.len());
        let (bin, later) = rest.split_at(end);
        let lowest = (0..bin.len()).min_by(|&a, &b| bin[a].1.total_cmp(&bin[b].1)).unwrap_or(0);
        let highest = (0..bin.len()).max_by(|&a, &b| bin[a].1.total_cmp(&bin[b].1)).unwrap_or(0);
        let mut indices = [0, lowest, highest, bin.len() - 1];
        indices.sort_unstable();
        let mut before = None;
        for index in indices {
            if before != Some(index) {
                kept.push(bin[index]);
            }
            before = Some(index);
        }
        rest = later;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_spike_survives_thinning() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|x| (f64::from(x), 1.0)).collect();
        points[54_321].1 = 99.0;
        let kept = thin(&points, 500);
        assert!(kept.len() <= 2_001, "{}", kept.len());
        assert!(kept.contains(&(54_321.0, 99.0)));
        assert!(kept.is_sorted_by(|a, b| a.0 <= b.0));
    }

    #[test]
    fn few_points_stay_as_they_are() {
        let points = [(0.0, 1.0), (1.0, 2.0)];
        assert_eq!(thin(&points, 500), points);
    }
}
