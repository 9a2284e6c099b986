//! Laws of chance: quantiles, correlation that keeps the marginal law.
