//! Words and lines of HAProxy's language.
//!
//! A value that a user wrote is refused here or written between single quotes, where HAProxy reads everything
//! literally; no value can end a line or begin one.

use std::{
    fmt::{self, Write},
    time::Duration,
};

use super::Error;

/// Words of a long list on one line. HAProxy reads up to 64 words and 2048 letters.
const WORDS: usize = 8;

/// A limit on inactivity. Zero stands for no limit and is written as the longest time HAProxy can count: without the
/// setting it would warn, and use another section's.
pub(super) fn limit(duration: Duration) -> String {
    if duration.is_zero() {
        return "24d".to_owned();
    }
    time(duration)
}

/// A time for HAProxy, at least 1 ms: zero would mean without end.
pub(super) fn time(duration: Duration) -> String {
    let millis = duration.as_millis().max(1);
    if millis.is_multiple_of(1000) {
        format!("{}s", millis / 1000)
    } else {
        format!("{millis}ms")
    }
}

/// A name that HAProxy allows; quotes would not make another one legal.
pub(super) fn token<'a>(what: &'static str, value: &'a str) -> Result<&'a str, Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if !value.is_empty() && value.chars().all(allowed) {
        Ok(value)
    } else {
        Err(Error::Name {
            what,
            value: value.to_owned(),
        })
    }
}

/// One word for HAProxy, whatever characters are in it.
pub(super) fn quote(what: &'static str, value: &str) -> Result<String, Error> {
    if value.chars().any(char::is_control) {
        return Err(Error::Control {
            what,
            value: value.to_owned(),
        });
    }
    Ok(format!("'{}'", value.replace('\'', "'\\''")))
}

/// A section under its heading.
pub(super) struct Lines(String);

impl Lines {
    pub(super) fn new(heading: &str) -> Self {
        Self(format!("{heading}\n"))
    }

    pub(super) fn section(&mut self, heading: &str) {
        self.0.push('\n');
        self.0 += heading;
        self.0.push('\n');
    }

    pub(super) fn add(&mut self, line: impl fmt::Display) {
        // Writing to a String cannot fail.
        writeln!(self.0, "    {line}").unwrap_or_default();
    }

    /// Writes the values behind `start`, on as many lines as they need: for HAProxy, lines with the same name are
    /// alternatives.
    pub(super) fn any_of(
        &mut self,
        start: &str,
        what: &'static str,
        values: &[String],
    ) -> Result<(), Error> {
        for values in values.chunks(WORDS) {
            let words: Result<Vec<String>, Error> =
                values.iter().map(|value| quote(what, value)).collect();
            self.add(format_args!("{start} {}", words?.join(" ")));
        }
        Ok(())
    }

    pub(super) fn end(mut self) -> String {
        self.0.push('\n');
        self.0
    }
}

/// A line that grows: words with a space between them.
pub(super) struct Words(String);

impl Words {
    pub(super) fn new(first: impl fmt::Display) -> Self {
        Self(first.to_string())
    }

    pub(super) fn add(&mut self, words: impl fmt::Display) {
        // Writing to a String cannot fail.
        write!(self.0, " {words}").unwrap_or_default();
    }
}

impl fmt::Display for Words {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// HAProxy's reader for one line: words, with single quotes and backslashes.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut open, mut chars) =
            (Vec::new(), None::<String>, false, line.chars());
        while let Some(c) = chars.next() {
            match c {
                '\'' => {
                    open = !open;
                    word.get_or_insert_default();
                }
                '\\' if !open => word.get_or_insert_default().extend(chars.next()),
                ' ' if !open => words.extend(word.take()),
                '#' if !open => break,
                c => word.get_or_insert_default().push(c),
            }
        }
        assert!(!open, "a quote stayed open: {line}");
        words.extend(word);
        words
    }

    proptest! {
        #[test]
        fn any_value_is_refused_or_is_exactly_one_word(value in "\\PC*|.*") {
            match quote("value", &value) {
                Ok(quoted) => {
                    prop_assert!(!quoted.contains('\n'));
                    let line = format!("crt {quoted} alpn");
                    prop_assert_eq!(words(&line), ["crt", value.as_str(), "alpn"]);
                }
                Err(_) => prop_assert!(value.chars().any(char::is_control)),
            }
        }

        #[test]
        fn any_name_is_refused_or_is_one_plain_word(value in ".*") {
            if let Ok(name) = token("name", &value) {
                prop_assert_eq!(words(name), [value.as_str()]);
                prop_assert!(!name.contains(['\'', '"', '$', '\\']));
            }
        }
    }

    #[test]
    fn a_duration_never_becomes_zero_which_haproxy_takes_for_endless() {
        assert_eq!(time(Duration::ZERO), "1ms");
        assert_eq!(time(Duration::from_micros(1)), "1ms");
        assert_eq!(time(Duration::from_millis(1500)), "1500ms");
        assert_eq!(time(Duration::from_mins(5)), "300s");
        assert_eq!(limit(Duration::ZERO), "24d");
        assert_eq!(limit(Duration::from_secs(1)), "1s");
    }
}
