//! How throughput grows with clients: Gunther's universal scalability law.

/// X(n) = scale · n / (1 + contention · (n − 1) + coherency · n (n − 1)) (Gunther, *Guerrilla Capacity Planning*, 2007,
/// chapter 4).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usl {
    /// Throughput of one client.
    pub scale: f64,
    /// Share of work that is done one after the other; 0 without.
    pub contention: f64,
    /// Cost of keeping any two in agreement; 0 without.
    pub coherency: f64,
}

impl Usl {
    /// The law nearest to `points` of (clients, throughput), by least squares of n / X, which is a polynomial of second
    /// degree in n; a coefficient that would be negative is left out. Relative errors weigh the same. `None` for fewer than
    /// three points, or where nothing grows.
    #[must_use]
    pub fn fit(points: &[(f64, f64)]) -> Option<Self> {
        let points: Vec<(f64, f64)> = points.iter().copied().filter(|&(n, x)| n > 0.0 && x > 0.0).collect();
        if points.len() < 3 {
            return None;
        }
        // n/X = 1/scale · (1 + contention (n − 1) + coherency n (n − 1)); divided by n/X so that each error is relative.
        let row = |&(n, x): &(f64, f64)| [1.0, n - 1.0, n * (n - 1.0)].map(|term| term * x / n);
        let rows: Vec<[f64; 3]> = points.iter().map(row).collect();
        let used: [&[usize]; 4] = [&[0, 1, 2], &[0, 1], &[0, 2], &[0]];
        let fits = used.into_iter().filter_map(|terms| least_squares(&rows, terms));
        let found = fits.filter(|c| c[0] > 0.0 && c[1] >= 0.0 && c[2] >= 0.0);
        let error = |c: &[f64; 3]| {
            rows.iter()
                .map(|row| (row.iter().zip(c).map(|(a, b)| a * b).sum::<f64>() - 1.0).powi(2))
                .sum::<f64>()
        };
        let best = found.min_by(|a, b| error(a).total_cmp(&error(b)))?;
        Some(Self { scale: 1.0 / best[0], contention: best[1] / best[0], coherency: best[2] / best[0] })
    }

    /// Throughput of `clients`.
    #[must_use]
    pub fn at(&self, clients: f64) -> f64 {
        let n = clients;
        self.scale * n / (1.0 + self.contention * (n - 1.0) + self.coherency * n * (n - 1.0))
    }

    /// Clients beyond which throughput falls: √((1 − contention) / coherency). `None` if it never does.
    #[must_use]
    pub fn peak(&self) -> Option<f64> {
        (self.coherency > 0.0 && self.contention < 1.0)
            .then(|| ((1.0 - self.contention) / self.coherency).sqrt().max(1.0))
    }
}

/// Coefficients of `terms` for which the rows come nearest to 1; the others are 0. `None` where that is not decided.
fn least_squares(rows: &[[f64; 3]], terms: &[usize]) -> Option<[f64; 3]> {
    let size = terms.len();
    // Columns differ by orders of magnitude, so each is scaled to length one first.
    let length = |term: usize| rows.iter().map(|row| row[term].powi(2)).sum::<f64>().sqrt();
    let lengths: Vec<f64> = terms.iter().map(|&term| length(term)).collect();
    if lengths.iter().any(|&length| length <= 0.0) {
        return None;
    }
    let column = |place: usize, row: &[f64; 3]| row[terms[place]] / lengths[place];
    let mut matrix = vec![vec![0.0; size + 1]; size];
    for (i, line) in matrix.iter_mut().enumerate() {
        for (j, cell) in line.iter_mut().enumerate().take(size) {
            *cell = rows.iter().map(|row| column(i, row) * column(j, row)).sum();
        }
        line[size] = rows.iter().map(|row| column(i, row)).sum();
    }
    let solution = solve(matrix)?;
    let mut coefficients = [0.0; 3];
    for ((&term, value), length) in terms.iter().zip(solution).zip(lengths) {
        coefficients[term] = value / length;
    }
    Some(coefficients)
}

/// Gauss's elimination with pivots.
fn solve(mut matrix: Vec<Vec<f64>>) -> Option<Vec<f64>> {
    let size = matrix.len();
    for step in 0..size {
        let pivot = (step..size).max_by(|&a, &b| matrix[a][step].abs().total_cmp(&matrix[b][step].abs()))?;
        matrix.swap(step, pivot);
        if matrix[step][step].abs() < 1e-12 {
            return None;
        }
        let top = matrix[step].clone();
        for (line, row) in matrix.iter_mut().enumerate() {
            if line != step {
                let factor = row[step] / top[step];
                row.iter_mut().zip(&top).for_each(|(cell, above)| *cell -= factor * above);
            }
        }
    }
    Some((0..size).map(|line| matrix[line][size] / matrix[line][line]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENTS: [f64; 7] = [10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0];

    #[test]
    fn a_law_is_found_again() {
        let law = Usl { scale: 0.97, contention: 0.000_4, coherency: 2e-8 };
        let found = Usl::fit(&CLIENTS.map(|n| (n, law.at(n)))).expect("points");
        for (value, expected) in
            [(found.scale, law.scale), (found.contention, law.contention), (found.coherency, law.coherency)]
        {
            assert!((value / expected - 1.0).abs() < 1e-3, "{found:?}");
        }
        assert!((found.peak().expect("it falls") / 7_069.65 - 1.0).abs() < 1e-3);
    }

    #[test]
    fn what_grows_in_proportion_has_no_peak() {
        let found = Usl::fit(&CLIENTS.map(|n| (n, 2.0 * n))).expect("points");
        assert!(
            (found.scale - 2.0).abs() < 1e-9 && found.contention < 1e-9 && found.coherency < 1e-12,
            "{found:?}"
        );
        assert!((found.at(50.0) - 100.0).abs() < 1e-6);
        assert_eq!(Usl::fit(&[(1.0, 1.0), (2.0, 2.0)]), None);
    }
}
