//! Long-run behaviour of a small Markov chain that loses packets.

/// `N` states; row s holds the chances to go from s to each, `loss` the chance to lose a packet in each.
#[derive(Clone, Copy, Debug)]
pub struct Chain<const N: usize> {
    pub transitions: [[f64; N]; N],
    pub loss: [f64; N],
}

impl<const N: usize> Chain<N> {
    /// Shares of time in each state, for a chain that begins in the first.
    ///
    /// The limit of the chain that stands still half of the time, by squaring: it exists for periodic chains, and for
    /// those that get caught in some of their states.
    #[must_use]
    pub fn shares(&self) -> [f64; N] {
        let mut lazy = self.transitions;
        for (state, row) in lazy.iter_mut().enumerate() {
            row.iter_mut().for_each(|p| *p /= 2.0);
            row[state] += 0.5;
        }
        // 2^64 steps: the rarest transition a probability can say happens.
        for _ in 0..64 {
            lazy = normalised(product(&lazy, &lazy));
        }
        lazy[0]
    }

    /// Share of packets lost in the long run.
    #[must_use]
    pub fn mean_loss(&self) -> f64 {
        self.mean_of(&self.shares())
    }

    fn mean_of(&self, shares: &[f64; N]) -> f64 {
        shares.iter().zip(&self.loss).map(|(share, loss)| share * loss).sum()
    }

    /// How much more the number of losses varies than that of independent ones: 1 for a chain without memory, above
    /// it for bursts, below it for losses that avoid each other.
    ///
    /// Variance of a long count divided by N p (1 - p). With h the solution of (I - P) h = f - p, the covariances of
    /// all later packets with one sum up to the mean of f P h (the fundamental matrix of Kemeny and Snell).
    #[must_use]
    pub fn variance_inflation(&self) -> f64 {
        let shares = self.shares();
        let mean = self.mean_of(&shares);
        let binomial = mean * (1.0 - mean);
        if binomial <= 0.0 {
            return 1.0;
        }
        // I - P + 1 shares^T has the same solution, with mean zero, and is never singular for one class of states.
        let mut matrix = [[0.0; N]; N];
        for (s, row) in matrix.iter_mut().enumerate() {
            for (t, value) in row.iter_mut().enumerate() {
                *value = f64::from(u8::from(s == t)) - self.transitions[s][t] + shares[t];
            }
        }
        let Some(h) = solve(matrix, self.loss.map(|loss| loss - mean)) else { return 1.0 };
        let mut covariance = 0.0;
        for ((row, share), loss) in self.transitions.iter().zip(&shares).zip(&self.loss) {
            let later: f64 = row.iter().zip(&h).map(|(p, h)| p * h).sum();
            covariance += share * loss * later;
        }
        (1.0 + 2.0 * covariance / binomial).max(0.0)
    }
}

fn product<const N: usize>(a: &[[f64; N]; N], b: &[[f64; N]; N]) -> [[f64; N]; N] {
    let mut out = [[0.0; N]; N];
    for (row, of) in out.iter_mut().zip(a) {
        for (t, value) in row.iter_mut().enumerate() {
            *value = of.iter().zip(b).map(|(p, from)| p * from[t]).sum();
        }
    }
    out
}

/// Rows that add up to one again, so that rounding does not grow with the squarings.
fn normalised<const N: usize>(mut matrix: [[f64; N]; N]) -> [[f64; N]; N] {
    for row in &mut matrix {
        let sum: f64 = row.iter().sum();
        if sum > 0.0 {
            row.iter_mut().for_each(|p| *p /= sum);
        }
    }
    matrix
}

/// Gaussian elimination with the largest pivot; `None` for a singular matrix.
fn solve<const N: usize>(mut matrix: [[f64; N]; N], mut right: [f64; N]) -> Option<[f64; N]> {
    for column in 0..N {
        let pivot =
            (column..N).max_by(|&a, &b| matrix[a][column].abs().total_cmp(&matrix[b][column].abs()))?;
        if matrix[pivot][column].abs() < 1e-300 {
            return None;
        }
        matrix.swap(column, pivot);
        right.swap(column, pivot);
        for row in 0..N {
            if row == column {
                continue;
            }
            let pivot_row = matrix[column];
            let factor = matrix[row][column] / pivot_row[column];
            matrix[row].iter_mut().zip(&pivot_row).for_each(|(value, pivot)| *value -= factor * pivot);
            right[row] -= factor * right[column];
        }
    }
    let mut solution = [0.0; N];
    for (row, value) in solution.iter_mut().enumerate() {
        *value = right[row] / matrix[row][row];
    }
    Some(solution)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_states_agree_with_the_closed_formulas() {
        for (p, r, bad, good) in
            [(0.01, 0.3, 1.0, 0.0), (0.2, 0.2, 0.5, 0.01), (0.9, 0.9, 1.0, 0.0), (1e-6, 1e-3, 1.0, 0.0)]
        {
            let chain = Chain { transitions: [[1.0 - p, p], [r, 1.0 - r]], loss: [good, bad] };
            let share = p / (p + r);
            let mean = bad * share + good * (1.0 - share);
            assert!((chain.mean_loss() - mean).abs() < 1e-9 * mean, "{p} {r}");
            // The state's autocorrelation is rho = 1 - p - r; only what the state decides is inflated by it.
            let rho = 1.0 - p - r;
            let from_state = share * (1.0 - share) * (bad - good) * (bad - good);
            let inflation = 1.0 + from_state / (mean * (1.0 - mean)) * 2.0 * rho / (1.0 - rho);
            assert!((chain.variance_inflation() / inflation - 1.0).abs() < 1e-6, "{p} {r}");
        }
    }

    #[test]
    fn a_chain_that_gets_caught_ends_there() {
        let chain = Chain { transitions: [[0.9, 0.1], [0.0, 1.0]], loss: [0.0, 1.0] };
        assert_eq!(chain.mean_loss(), 1.0);
        let still = Chain { transitions: [[1.0, 0.0], [0.0, 1.0]], loss: [0.25, 1.0] };
        assert_eq!((still.mean_loss(), still.variance_inflation()), (0.25, 1.0));
    }

    #[test]
    fn a_periodic_chain_does_not_vary() {
        let chain = Chain { transitions: [[0.0, 1.0], [1.0, 0.0]], loss: [0.0, 1.0] };
        assert!((chain.mean_loss() - 0.5).abs() < 1e-12);
        assert!(chain.variance_inflation() < 1e-9);
    }
}
