use cooper_proto::control::StatusResponse;

use super::plain::Plain;
use super::rawjson::status_line;
use super::screen::Screen;
use super::state::Progress;
use super::tty::{Size, Stage, frame};

/// One of the ways in which progress is shown.
#[derive(Debug)]
pub enum View {
    /// Live steps that are redrawn in place.
    Terminal {
        /// What is known.
        progress: Progress,
        /// What is drawn.
        screen: Screen,
        /// When the build began, in nanoseconds since 1970.
        began: u64,
    },
    /// One line after the other.
    Plain(Plain),
    /// One JSON document a line.
    RawJson(Progress),
    /// Nothing.
    Quiet(Progress),
}

impl View {
    /// What to write after this news.
    pub fn news(&mut self, news: &StatusResponse, now: u64) -> String {
        match self {
            Self::Terminal { progress, .. } | Self::Quiet(progress) => {
                progress.apply(news);
                String::new()
            }
            Self::Plain(plain) => plain.update(news, now),
            Self::RawJson(progress) => {
                progress.apply(news);
                status_line(news) + "\n"
            }
        }
    }

    /// What to write every now and then.
    pub fn tick(&mut self, now: u64, size: Size) -> String {
        match self {
            Self::Terminal {
                progress,
                screen,
                began,
            } => screen.draw(&frame(progress, *began, now, size, Stage::Running)),
            Self::Plain(plain) => plain.tick(now),
            Self::RawJson(_) | Self::Quiet(_) => String::new(),
        }
    }

    /// What to write when the build has ended.
    pub fn finish(&mut self, now: u64, size: Size) -> String {
        match self {
            Self::Terminal {
                progress,
                screen,
                began,
            } => screen.draw(&frame(progress, *began, now, size, Stage::Finished)),
            _ => self.tick(now, size),
        }
    }

    /// What is known.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        match self {
            Self::Terminal { progress, .. } | Self::RawJson(progress) | Self::Quiet(progress) => {
                progress
            }
            Self::Plain(plain) => plain.progress(),
        }
    }

    /// Whether people read it, so that a summary may follow.
    #[must_use]
    pub fn is_for_people(&self) -> bool {
        matches!(self, Self::Terminal { .. } | Self::Plain(_))
    }
}
