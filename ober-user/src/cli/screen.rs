//! Where commands write: standard output, with colour and redrawn tables when a person looks at it.

use std::{
    env,
    fmt::Display,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use indicatif::ProgressBar;
use serde::Serialize;

use super::typed::spoken;
use crate::system::text::{tame, tame_lines};

/// Standard output, or a buffer.
pub struct Screen {
    out: Box<dyn Write>,
    terminal: bool,
    colour: bool,
}

/// Whether the text of a cell is good or bad news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Bad,
    Faint,
    Strong,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "32",
            Self::Bad => "1;31",
            Self::Faint => "2",
            Self::Strong => "1",
        }
    }

    pub fn of(good: bool) -> Self {
        if good { Self::Good } else { Self::Bad }
    }
}

/// One cell of a table; its text has no control characters.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    right: bool,
    tone: Tone,
}

impl Cell {
    pub fn text(text: impl Display) -> Self {
        Self::toned(text, Tone::Plain)
    }

    pub fn toned(text: impl Display, tone: Tone) -> Self {
        // The text may come from the network or a file: a terminal must not obey its control characters.
        let text = spoken(&tame(&text.to_string())).into_owned();
        Self {
            text,
            right: false,
            tone,
        }
    }

    pub fn number(number: impl Display) -> Self {
        Self {
            right: true,
            ..Self::text(number)
        }
    }
}

/// Shows that something goes on. Drawn on standard error, and only when that is a terminal.
pub(super) fn spinner(message: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(message);
    if !spinner.is_hidden() {
        spinner.enable_steady_tick(Duration::from_millis(100));
    }
    spinner
}

/// One line on standard error, beside the answer.
pub(super) fn warn(words: impl Display) {
    let word = if coloured(&io::stderr()) {
        "\x1b[1;33mwarning\x1b[0m"
    } else {
        "warning"
    };
    aside(format_args!(
        "{word}: {}",
        spoken(&tame(&words.to_string()))
    ));
}

/// One line on standard error, for a person who waits without a terminal.
pub(super) fn note(words: impl Display) {
    aside(spoken(&tame(&words.to_string())));
}

/// Writes a line on standard error. Where that takes nothing (a closed pipe, a full disk) the line is lost: `eprintln` would end
/// the command there, half done.
pub fn aside(line: impl Display) {
    writeln!(io::stderr(), "{line}").unwrap_or_default();
}

/// Asks the person at the terminal; `default`: what Enter means.
pub(super) fn agree(question: &str, default: bool) -> Result<bool, super::Error> {
    let asked = dialoguer::Confirm::new()
        .with_prompt(question)
        .default(default);
    asked
        .interact()
        .map_err(|dialoguer::Error::IO(error)| super::Error::Prompt(error))
}

/// May `stream` be coloured?
pub fn coloured(stream: &impl IsTerminal) -> bool {
    let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    stream.is_terminal() && !refused && !dumb
}

impl Screen {
    pub fn stdout() -> Self {
        let out = io::stdout();
        Self {
            terminal: out.is_terminal(),
            colour: coloured(&out),
            out: Box::new(io::BufWriter::new(out)),
        }
    }

    /// A screen without a terminal.
    pub fn plain(out: impl Write + 'static) -> Self {
        Self {
            out: Box::new(out),
            terminal: false,
            colour: false,
        }
    }

    /// Does the output go to a terminal?
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Starts over at the top of the terminal.
    pub fn clear(&mut self) -> io::Result<()> {
        if self.terminal {
            self.out.write_all(b"\x1b[H\x1b[2J")?;
        }
        Ok(())
    }

    /// Writes one line or several. Of control characters a terminal gets only line breaks and our own colours.
    pub fn line(&mut self, line: impl Display) -> io::Result<()> {
        let line = line.to_string();
        writeln!(self.out, "{}", spoken(&tame_lines(&line, self.colour)))
    }

    /// Writes one line of a file, or of its difference: its words are the file's, so the name of this program stays as it is
    /// there. Control characters are escaped, and a tab has the width of four blanks.
    pub fn text(&mut self, line: &str, tone: Tone) -> io::Result<()> {
        let line = self.tint(&tame(&line.replace('\t', "    ")), tone);
        writeln!(self.out, "{line}")
    }

    /// Writes a whole file, such as a script for a shell, in which the name of this program stays as it is.
    pub fn whole(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{}", tame_lines(text, false))
    }

    /// One JSON value on one line.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), super::Error> {
        serde_json::to_writer(&mut self.out, value)?;
        Ok(writeln!(self.out)?)
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Text in a tone, where there is colour.
    pub fn paint(&self, text: impl Display, tone: Tone) -> String {
        let text = Cell::toned(text, tone).text;
        self.tint(&text, tone)
    }

    fn tint(&self, text: &str, tone: Tone) -> String {
        match tone.code() {
            code if self.colour && !code.is_empty() => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }

    /// Columns as wide as their widest cell; nothing when there are no rows.
    pub fn table(&mut self, heads: &[&str], rows: &[Vec<Cell>]) -> io::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let right = |column: usize| {
            rows.iter()
                .any(|row| row.get(column).is_some_and(|cell| cell.right))
        };
        let head: Vec<Cell> = heads
            .iter()
            .enumerate()
            .map(|(column, head)| Cell {
                right: right(column),
                ..Cell::toned(head, Tone::Strong)
            })
            .collect();
        let width = |column: usize| {
            let rows = std::iter::once(&head).chain(rows);
            let cells = rows.filter_map(|row| row.get(column));
            cells
                .map(|cell| cell.text.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..heads.len()).map(width).collect();
        for row in std::iter::once(&head).chain(rows) {
            let cells = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, width))| self.place(cell, *width, column + 1 == row.len()));
            let line = cells.collect::<Vec<_>>().join("  ");
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }

    fn place(&self, cell: &Cell, width: usize, last: bool) -> String {
        let gap = " ".repeat(width.saturating_sub(cell.text.chars().count()));
        let text = self.tint(&cell.text, cell.tone);
        match (cell.right, last) {
            (true, _) => gap + &text,
            (false, true) => text,
            (false, false) => text + &gap,
        }
    }
}

/// A number of things, in the singular or the plural.
pub(super) fn many(count: usize, thing: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{s}")
}

/// The two largest units are enough for a person.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match (
        seconds / 86_400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    ) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m {s}s"),
        (0, h, m, _) => format!("{h}h {m}m"),
        (d, h, _, _) => format!("{d}d {h}h"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What a command wrote.
    #[derive(Clone, Default)]
    pub(crate) struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Paper {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn table_columns_are_aligned_and_numbers_are_right_aligned() {
        let paper = Paper::default();
        let mut screen = Screen::plain(paper.clone());
        let rows = [
            vec![Cell::text("a"), Cell::number(1), Cell::text("x")],
            vec![
                Cell::text("long"),
                Cell::number(1000),
                Cell::toned("y", Tone::Bad),
            ],
        ];
        screen.table(&["name", "n", "rest"], &rows).unwrap();
        assert_eq!(
            paper.text(),
            "name     n  rest\na        1  x\nlong  1000  y\n"
        );
    }

    #[test]
    fn control_characters_are_escaped_before_they_reach_the_terminal() {
        let mut screen = Screen::plain(Paper::default());
        screen.colour = true;
        assert_eq!(
            screen.paint("a\x1b[2Jb", Tone::Bad),
            "\x1b[1;31ma\\u{1b}[2Jb\x1b[0m"
        );
        let paper = Paper::default();
        let mut screen = Screen::plain(paper.clone());
        screen.line("a\x1b[2Jb\x1b[31mc").unwrap();
        screen.colour = true;
        screen.line("a\x1b[2Jb\x1b[31mc").unwrap();
        assert_eq!(
            paper.text(),
            "a\\u{1b}[2Jb\\u{1b}[31mc\na\\u{1b}[2Jb\x1b[31mc\n"
        );
    }

    #[test]
    fn a_line_of_a_file_is_shown_as_it_is_but_for_control_characters() {
        let paper = Paper::default();
        let mut screen = Screen::plain(paper.clone());
        let line = "#\t`ober-user reload`\x1b[2J";
        screen.text(line, Tone::Plain).unwrap();
        assert_eq!(paper.text(), "#    `ober-user reload`\\u{1b}[2J\n");
    }

    #[test]
    fn a_span_shows_its_two_largest_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (61, "1m 1s"),
            (3661, "1h 1m"),
            (90_000, "1d 1h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}
