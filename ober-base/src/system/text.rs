//! Texts from others, such as a neighbour's reason or a server's answer: made safe to show and to log, so that they cannot
//! control a terminal or begin a line of their own.

use std::{
    borrow::Cow,
    io::{self, Write},
};

/// Does this letter have an effect on a terminal or a log? Control characters, line separators, and marks that reverse the
/// direction of writing.
fn is_active(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{2028}' | '\u{2029}' | '\u{61c}' | '\u{200e}' | '\u{200f}'
        )
        || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What a text may contain beside readable letters.
#[derive(Clone, Copy, Debug, Default)]
struct Allowed {
    /// Line breaks and tabs.
    layout: bool,
    /// The daemon's own colours are among the text.
    colours: bool,
}

/// The text with its active letters replaced by escapes such as `\n` and `\u{202e}`.
pub fn tame(text: &str) -> Cow<'_, str> {
    escaped(text, Allowed::default())
}

/// The same for a text of several lines: breaks and tabs stay, and colours where `coloured`.
pub fn tame_lines(text: &str, coloured: bool) -> Cow<'_, str> {
    let allowed = Allowed {
        layout: true,
        colours: coloured,
    };
    escaped(text, allowed)
}

fn escaped(text: &str, allowed: Allowed) -> Cow<'_, str> {
    if !text.chars().any(is_active) {
        return Cow::Borrowed(text);
    }
    let mut tame = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let colour = if allowed.colours { colour(rest) } else { "" };
        let layout = allowed.layout && matches!(letter, '\n' | '\t');
        let length = colour.len().max(letter.len_utf8());
        let (piece, behind) = rest.split_at(length);
        if colour.is_empty() && is_active(letter) && !layout {
            tame.extend(letter.escape_default());
        } else {
            tame.push_str(piece);
        }
        rest = behind;
    }
    Cow::Owned(tame)
}

/// The leading sequence that sets a colour and has no other effect; empty if there is none.
fn colour(text: &str) -> &str {
    let parameters = text.strip_prefix("\x1b[").unwrap_or_default();
    let rest =
        parameters.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == ';');
    let behind = rest.strip_prefix('m').map(str::len);
    behind
        .and_then(|behind| text.get(..text.len() - behind))
        .unwrap_or_default()
}

/// A log writer that puts each event on one line, whatever texts the event quotes. Each write must be a whole event, as
/// `tracing` writes them.
#[derive(Debug)]
pub struct OneLine<W> {
    inner: W,
    allowed: Allowed,
    before: &'static str,
}

impl<W> OneLine<W> {
    pub fn new(inner: W, coloured: bool) -> Self {
        let allowed = Allowed {
            layout: false,
            colours: coloured,
        };
        Self {
            inner,
            allowed,
            before: "",
        }
    }

    /// Puts these words before each event.
    #[must_use]
    pub fn after(mut self, before: &'static str) -> Self {
        self.before = before;
        self
    }
}

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.write_all(event)?;
        Ok(event.len())
    }

    fn write_all(&mut self, event: &[u8]) -> io::Result<()> {
        let (line, end) = match event.split_last() {
            Some((b'\n', line)) => (line, "\n"),
            Some(_) | None => (event, ""),
        };
        let text = String::from_utf8_lossy(line);
        let line = self.before.to_owned() + &escaped(&text, self.allowed) + end;
        self.inner.write_all(line.as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_log_event_begins_with_a_priority_and_foreign_text_cannot_add_one() {
        let mut log = Vec::new();
        let mut line = OneLine::new(&mut log, false).after("<4>");
        line.write_all("gate reason=\"down\n<0>panic\"\n".as_bytes())
            .unwrap();
        assert_eq!(log, b"<4>gate reason=\"down\\n<0>panic\"\n");
    }

    #[test]
    fn control_characters_are_escaped_and_readable_text_is_unchanged() {
        for (text, tamed) in [
            ("gone till six", "gone till six"),
            (
                "Wartung bis 18 Uhr, größer ≥ 3",
                "Wartung bis 18 Uhr, größer ≥ 3",
            ),
            ("a\nWARN x", "a\\nWARN x"),
            ("a\r\tb\0", "a\\r\\tb\\u{0}"),
            ("\x1b[31mred\u{9b}", "\\u{1b}[31mred\\u{9b}"),
            (
                "\u{202e}evil\u{2066}\u{2028}",
                "\\u{202e}evil\\u{2066}\\u{2028}",
            ),
        ] {
            assert_eq!(tame(text), tamed);
        }
    }

    #[test]
    fn a_text_of_several_lines_keeps_its_layout_and_only_colour_escapes() {
        let text = "two\n\tlines \x1b[1;31mred\x1b[0m \x1b[2J\x1b]0;title\x07\u{202e}\r\x1b[31";
        let tamed = "two\n\tlines \x1b[1;31mred\x1b[0m \\u{1b}[2J\\u{1b}]0;title\\u{7}\\u{202e}\\r\\u{1b}[31";
        assert_eq!(tame_lines(text, true), tamed);
        assert_eq!(tame_lines(text, false), tamed.replace('\x1b', "\\u{1b}"));
        assert_eq!(tame_lines("größer ≥ 3\n", false), "größer ≥ 3\n");
    }

    #[test]
    fn a_log_event_is_one_line_and_keeps_only_the_logs_own_colours() {
        let written = |event: &str, coloured| {
            let mut out = OneLine::new(Vec::new(), coloured);
            out.write_all(event.as_bytes()).unwrap();
            String::from_utf8(out.inner).unwrap()
        };
        let event = "\x1b[33mWARN\x1b[0m reason=a\nWARN forged\n";
        assert_eq!(
            written(event, true),
            "\x1b[33mWARN\x1b[0m reason=a\\nWARN forged\n"
        );
        assert_eq!(
            written(event, false),
            "\\u{1b}[33mWARN\\u{1b}[0m reason=a\\nWARN forged\n"
        );
        assert_eq!(written("plain\n", false), "plain\n");
    }
}
