use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::tty::{Frame, Paint};

/// Redraws frames in place.
#[derive(Debug, Default)]
pub struct Screen {
    drawn: usize,
    coloured: bool,
}

impl Screen {
    /// A screen that paints lines, or does not.
    #[must_use]
    pub fn new(coloured: bool) -> Self {
        Self { drawn: 0, coloured }
    }

    /// What to write so that the terminal shows this frame in the place of the last one.
    pub fn draw(&mut self, frame: &Frame) -> String {
        // One write hides the cursor, goes up, overwrites line by line and clears what is left over, so that nothing
        // flickers.
        let mut out = String::from("\u{1b}[?25l");
        if self.drawn > 0 {
            // Writing to a String cannot fail.
            let _ = write!(out, "\u{1b}[{}A", self.drawn);
        }
        for line in &frame.lines {
            let style = if self.coloured {
                style(line.paint)
            } else {
                Style::new()
            };
            let _ = writeln!(out, "\r{style}{}{style:#}\u{1b}[K", line.text);
        }
        out.push_str("\u{1b}[J\u{1b}[?25h");
        self.drawn = frame.lines.len();
        out
    }

    /// Leaves what was drawn where it is; the next frame starts below it.
    pub fn release(&mut self) {
        self.drawn = 0;
    }
}

fn style(paint: Paint) -> Style {
    match paint {
        Paint::Head | Paint::Running => Style::new(),
        Paint::Done => AnsiColor::Blue.on_default(),
        Paint::Failed => AnsiColor::Red.on_default(),
        Paint::Cancelled => AnsiColor::Yellow.on_default(),
        Paint::Log => Style::new().dimmed(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tty::FrameLine;
    use super::*;

    #[test]
    fn second_frame_goes_back_over_the_first() {
        let frame = |texts: &[&str]| Frame {
            lines: texts
                .iter()
                .map(|text| FrameLine {
                    text: (*text).to_owned(),
                    paint: Paint::Done,
                })
                .collect(),
        };
        let mut screen = Screen::new(false);
        assert!(!screen.draw(&frame(&["a", "b"])).contains("A"));
        let second = screen.draw(&frame(&["c"]));
        assert!(second.contains("\u{1b}[2A") && second.contains("\u{1b}[J"));
        screen.release();
        assert!(!screen.draw(&frame(&["d"])).contains("\u{1b}[1A"));
    }
}
