//! One SI prefix and one number of decimals for a whole column, so that its figures can be compared by eye.

/// Unit prefix of a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Prefix {
    /// Symbol before the unit.
    pub(super) symbol: &'static str,
    factor: f64,
}

/// From large to small.
const PREFIXES: [Prefix; 7] = [
    Prefix { symbol: "G", factor: 1e9 },
    Prefix { symbol: "M", factor: 1e6 },
    Prefix { symbol: "k", factor: 1e3 },
    Prefix { symbol: "", factor: 1.0 },
    Prefix { symbol: "m", factor: 1e-3 },
    Prefix { symbol: "µ", factor: 1e-6 },
    Prefix { symbol: "n", factor: 1e-9 },
];

impl Prefix {
    /// No prefix.
    pub(super) const NONE: Self = PREFIXES[3];
    /// Millionths; what published energy figures of small boards are in.
    pub(super) const MICRO: Self = PREFIXES[5];
    /// Thousandths.
    pub(super) const MILLI: Self = PREFIXES[4];

    /// Finds the largest prefix that leaves every figure but zeros at 1 or above; none for a column without figures.
    pub(super) fn for_column(figures: impl IntoIterator<Item = f64>) -> Self {
        let Some(smallest) = smallest(figures) else { return Self::NONE };
        PREFIXES.into_iter().find(|prefix| smallest >= prefix.factor).unwrap_or(PREFIXES[PREFIXES.len() - 1])
    }

    /// Writes a figure in this prefix, `decimals` digits after the point.
    pub(super) fn text(self, figure: f64, decimals: usize) -> String {
        // The quotient by a power of ten below one is a bit less exact than the product with its inverse.
        let scaled = if self.factor < 1.0 { figure * (1.0 / self.factor).round() } else { figure / self.factor };
        let text = format!("{scaled:.decimals$}");
        // "-0.00" is a rounded figure with a sign that nobody measured.
        match text.strip_prefix('-') {
            Some(digits) if digits.bytes().all(|byte| byte == b'0' || byte == b'.') => digits.to_owned(),
            _ => text,
        }
    }

    /// How many decimals show the smallest figure of a column with `digits` significant digits, at most `decimals_max`.
    pub(super) fn decimals(self, figures: impl IntoIterator<Item = f64>, digits: i32, decimals_max: usize) -> usize {
        let Some(smallest) = smallest(figures) else { return 0 };
        let mut decimals = 0;
        while decimals < decimals_max && smallest / self.factor < 10f64.powi(digits - 1 - to_i32(decimals)) {
            decimals += 1;
        }
        decimals
    }
}

/// Smallest magnitude that is not zero.
fn smallest(figures: impl IntoIterator<Item = f64>) -> Option<f64> {
    figures.into_iter().map(f64::abs).filter(|figure| *figure > 0.0 && figure.is_finite()).min_by(f64::total_cmp)
}

fn to_i32(decimals: usize) -> i32 {
    i32::try_from(decimals).expect("decimals are few")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(figures: &[f64], digits: i32, expect: &[&str]) {
        let prefix = Prefix::for_column(figures.iter().copied());
        let decimals = prefix.decimals(figures.iter().copied(), digits, 6);
        let texts: Vec<_> =
            figures.iter().map(|figure| format!("{} {}", prefix.text(*figure, decimals), prefix.symbol)).collect();
        assert_eq!(texts, expect);
    }

    #[test]
    fn a_column_has_one_prefix_and_one_number_of_decimals() {
        check(&[50.12e-6, 5e-3], 4, &["50.12 µ", "5000.00 µ"]);
        check(&[1.0e-3], 4, &["1.000 m"]);
        check(&[0.0], 4, &["0 "]);
        check(&[12.0, 0.0], 3, &["12.0 ", "0.0 "]);
        check(&[-2.5e3], 2, &["-2.5 k"]);
        check(&[3e-12], 2, &["0.0030 n"]);
        check(&[96_000.0, 1_200_000.0], 3, &["96.0 k", "1200.0 k"]);
    }

    #[test]
    fn a_published_figure_keeps_its_digits() {
        assert_eq!(Prefix::MICRO.text(5_495.915e-6, 4), "5495.9150");
        assert_eq!(Prefix::MICRO.text(31.834_7e-6, 4), "31.8347");
        assert_eq!(Prefix::MILLI.text(33.0616e-3, 4), "33.0616");
    }

    #[test]
    fn nothing_is_negative_zero() {
        assert_eq!(Prefix::MICRO.text(-1e-12, 2), "0.00");
    }
}
