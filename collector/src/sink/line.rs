//! Line protocol, written through a declaration: escaped, finite, of the declared type, or not at all.

use super::series::{FieldType, Series};

/// A value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A float; one that is not finite is left out, as InfluxDB has none.
    Float(f64),
    /// An integer.
    Integer(i64),
    /// A text.
    Text(&'a str),
    /// True or false.
    Boolean(bool),
}

impl Value<'_> {
    fn kind(self) -> FieldType {
        match self {
            Self::Float(_) => FieldType::Float,
            Self::Integer(_) => FieldType::Integer,
            Self::Text(_) => FieldType::String,
            Self::Boolean(_) => FieldType::Boolean,
        }
    }
}

impl From<f64> for Value<'_> {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<u64> for Value<'_> {
    /// Counts and sizes stay below 2^63; a larger one is kept at the end of the range.
    fn from(value: u64) -> Self {
        Self::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value<'_> {
    fn from(value: usize) -> Self {
        Self::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(value: &'a String) -> Self {
        Self::Text(value)
    }
}

/// Bytes of a text that is written: InfluxDB refuses fields above 64 KiB, and nobody reads that much in a cell.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// One point, before it is a line.
#[derive(Debug, Clone)]
pub struct Point<'a> {
    series: &'static Series,
    tags: Vec<(&'static str, &'a str)>,
    fields: Vec<(&'static str, Value<'a>)>,
}

impl<'a> Point<'a> {
    /// A point of a series.
    pub fn new(series: &'static Series) -> Self {
        Self { series, tags: Vec::new(), fields: Vec::new() }
    }

    /// Adds a tag; an empty one is no tag.
    ///
    /// # Panics
    /// When the series declares no such tag: an error of this program.
    pub fn tag(mut self, name: &'static str, value: &'a str) -> Self {
        assert!(self.series.has_tag(name), "the series '{}' declares no tag '{name}'", self.series.name);
        if !value.is_empty() {
            self.tags.push((name, value));
        }
        self
    }

    /// Adds a field, or none when there is no value.
    ///
    /// # Panics
    /// When the series declares no such field, or one of another type: an error of this program.
    pub fn field(mut self, name: &'static str, value: impl Into<MaybeValue<'a>>) -> Self {
        let declared = self.series.field(name);
        let declared =
            declared.unwrap_or_else(|| panic!("the series '{}' declares no field '{name}'", self.series.name));
        if let Some(value) = value.into().0 {
            assert_eq!(declared.kind, value.kind(), "the field '{name}' of the series '{}'", self.series.name);
            let is_finite = !matches!(value, Value::Float(float) if !float.is_finite());
            if is_finite {
                self.fields.push((name, value));
            }
        }
        self
    }

    /// Appends the point as a line; nothing for a point without a field.
    pub fn write(mut self, at_unix_ns: i64, lines: &mut Lines) {
        if self.fields.is_empty() {
            return;
        }
        // Sorted tags are the form that the server need not sort.
        self.tags.sort_unstable_by_key(|(name, _)| *name);
        let text = &mut lines.text;
        text.push_str(&self.series.name);
        for (name, value) in self.tags {
            text.push(',');
            text.push_str(name);
            text.push('=');
            push_tag(text, value);
        }
        for (index, (name, value)) in self.fields.into_iter().enumerate() {
            text.push(if index == 0 { ' ' } else { ',' });
            text.push_str(name);
            text.push('=');
            push_value(text, value);
        }
        lines.end(at_unix_ns);
    }
}

/// A value that may be missing.
#[derive(Debug, Clone, Copy)]
pub struct MaybeValue<'a>(Option<Value<'a>>);

impl<'a, T: Into<Value<'a>>> From<T> for MaybeValue<'a> {
    fn from(value: T) -> Self {
        Self(Some(value.into()))
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for MaybeValue<'a> {
    fn from(value: Option<T>) -> Self {
        Self(value.map(Into::into))
    }
}

/// Whole lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    text: String,
    count: usize,
}

impl Lines {
    /// How many.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The text, each line with its end.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text, for whoever appends a line by itself and then calls [`Self::end`].
    pub(super) fn text_mut(&mut self) -> &mut String {
        &mut self.text
    }

    /// Ends a line with its time.
    pub(super) fn end(&mut self, at_unix_ns: i64) {
        self.text.push(' ');
        self.text.push_str(itoa::Buffer::new().format(at_unix_ns));
        self.text.push('\n');
        self.count += 1;
    }

    /// Takes the first lines out, and leaves the rest.
    pub fn take_first(&mut self, count: usize) -> Self {
        if self.count <= count {
            return std::mem::take(self);
        }
        let Some(cut) = self.end_of(count) else { return Self::default() };
        // As long as the first will be the next: growing it step by step would copy it as often.
        let mut text = String::with_capacity(self.text.capacity());
        text.push_str(&self.text[cut..]);
        let rest = Self { text, count: self.count - count };
        let mut first = std::mem::replace(self, rest);
        first.text.truncate(cut);
        first.count = count;
        first
    }

    /// Appends lines.
    pub fn append(&mut self, other: Self) {
        self.text.push_str(&other.text);
        self.count += other.count;
    }

    /// Where the first lines end. No line of ours has a line break inside.
    fn end_of(&self, count: usize) -> Option<usize> {
        let (cut, _) = self.text.match_indices('\n').nth(count.checked_sub(1)?)?;
        Some(cut + 1)
    }

    /// Cuts into two halves, between lines; `None` for less than two.
    pub fn halves(self) -> Option<(Self, Self)> {
        let count = self.count / 2;
        if count == 0 {
            return None;
        }
        let (first, second) = self.text.split_at(self.end_of(count)?);
        let rest = self.count - count;
        Some((Self { text: first.to_owned(), count }, Self { text: second.to_owned(), count: rest }))
    }
}

/// A line break would end the line, and a backslash at the end would escape what follows: neither means anything in the
/// names that are tags, so they become spaces.
fn push_tag(text: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\n' | '\r' | '\\' => text.push_str("\\ "),
            ',' | '=' | ' ' => {
                text.push('\\');
                text.push(letter);
            }
            _ => text.push(letter),
        }
    }
}

/// The beginning of a line of a series: its name and its tags, each as `(name, value)` in the order of their names.
pub(super) fn prefix(series: &Series, tags: &[(&str, &str)]) -> String {
    let mut text = series.name.clone();
    for (name, value) in tags.iter().filter(|(_, value)| !value.is_empty()) {
        debug_assert!(series.has_tag(name), "{name}");
        text.push(',');
        text.push_str(name);
        text.push('=');
        push_tag(&mut text, value);
    }
    text.push(' ');
    text
}

/// The shortest text that reads back as the same bits.
pub(super) fn push_float(text: &mut String, value: f64) {
    text.push_str(ryu::Buffer::new().format_finite(value));
}

fn push_value(text: &mut String, value: Value<'_>) {
    match value {
        Value::Float(value) => push_float(text, value),
        Value::Integer(value) => {
            text.push_str(itoa::Buffer::new().format(value));
            text.push('i');
        }
        Value::Boolean(value) => text.push_str(if value { "true" } else { "false" }),
        Value::Text(value) => push_text(text, value),
    }
}

/// InfluxDB takes line breaks inside of quotes. Here each becomes a dot, so that a refused request can be cut between lines.
fn push_text(text: &mut String, value: &str) {
    let value = &value[..value.floor_char_boundary(TEXT_BYTES_MAX)];
    text.push('"');
    for letter in value.chars() {
        match letter {
            '"' | '\\' => {
                text.push('\\');
                text.push(letter);
            }
            '\n' => text.push_str(" · "),
            '\r' => {}
            _ => text.push(letter),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::series::named;
    use super::*;

    fn line(point: Point<'_>) -> String {
        let mut lines = Lines::default();
        point.write(1_700_000_000_123_456_789, &mut lines);
        lines.text
    }

    #[test]
    fn tags_are_sorted_and_fields_typed() {
        let point = Point::new(named("window"))
            .tag("run", "digits-k3f9")
            .tag("node", "pi-4")
            .tag("kind", "")
            .field("trial", 3u32)
            .field("seconds", 10.5)
            .field("channel", "ina219 (rail)")
            .field("joules_expanded_uncertainty", None::<f64>);
        assert_eq!(
            line(point),
            "window,node=pi-4,run=digits-k3f9 trial=3i,seconds=10.5,channel=\"ina219 (rail)\" 1700000000123456789\n"
        );
    }

    #[test]
    fn what_would_break_a_line_is_escaped_and_what_is_no_number_left_out() {
        let point = Point::new(named("trial"))
            .tag("treatment", "a b,c=d\\")
            .field("invalid_reasons", "say \"no\" \\\nand go")
            .field("accuracy", f64::NAN)
            .field("f1", f64::INFINITY);
        assert_eq!(
            line(point),
            "trial,treatment=a\\ b\\,c\\=d\\  invalid_reasons=\"say \\\"no\\\" \\\\ · and go\" 1700000000123456789\n"
        );
        assert_eq!(line(Point::new(named("trial")).field("accuracy", f64::NAN)), "", "no field, no line");
    }

    #[test]
    #[should_panic(expected = "declares no field 'watt'")]
    fn an_undeclared_field_is_this_programs_error() {
        let _ = Point::new(named("window")).field("watt", 1.0);
    }

    #[test]
    #[should_panic(expected = "the field 'seconds'")]
    fn a_field_of_another_type_is_this_programs_error() {
        let _ = Point::new(named("window")).field("seconds", 1u64);
    }

    proptest! {
        #[test]
        fn halves_hold_the_same_lines(count in 0usize..40) {
            let mut lines = Lines::default();
            for index in 0..count {
                Point::new(named("loss")).field("reading_count", index).write(0, &mut lines);
            }
            let whole = lines.clone();
            match lines.halves() {
                None => prop_assert!(count < 2),
                Some((first, second)) => {
                    prop_assert!(first.count > 0 && second.count > 0);
                    prop_assert_eq!(first.count, first.text.lines().count());
                    prop_assert_eq!(second.count, second.text.lines().count());
                    prop_assert_eq!(first.text + &second.text, whole.text);
                }
            }
        }

        #[test]
        fn every_text_is_one_line(text in "\\PC*[\\n\\r\"\\\\]*") {
            let written = line(Point::new(named("answer")).field("sentence", &text));
            prop_assert_eq!(written.matches('\n').count(), 1);
        }

        #[test]
        fn a_float_reads_back_as_the_same_bits(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let mut text = String::new();
            push_float(&mut text, value);
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits);
        }
    }
}
