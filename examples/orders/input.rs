//! Where orders come from: a file, standard input, or dice.

use std::io;
use std::path::Path;

use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use super::events::OrderPlaced;
use super::options::{Options, Source};
use super::shop::Shop;

/// Orders, one after the other.
pub(crate) enum Orders {
    MadeUp(Shop),
    Read(Lines),
}

impl Orders {
    pub(crate) async fn open(options: &Options) -> io::Result<Self> {
        Ok(match &options.source {
            Source::MadeUp(orders) => Self::MadeUp(Shop::new(*orders, options.seed)),
            Source::File(path) => Self::Read(Lines::new(open(path).await?)),
            Source::Stdin => Self::Read(Lines::new(tokio::io::stdin())),
        })
    }

    /// The next order, or what is wrong with it. An error is the end: nothing more can be read.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Result<OrderPlaced, String>>> {
        match self {
            Self::MadeUp(shop) => Ok(shop.next().map(Ok)),
            Self::Read(lines) => lines.next().await.map_err(|error| {
                let after = format!("nothing can be read after line {}", lines.number);
                io::Error::new(error.kind(), format!("{after}: {error}"))
            }),
        }
    }

    /// Where the last order came from.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::MadeUp(shop) => format!("order {}", shop.number()),
            Self::Read(lines) => format!("line {}", lines.number),
        }
    }
}

async fn open(path: &Path) -> io::Result<File> {
    let named = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("{} cannot be read: {error}", path.display()),
        )
    };
    File::open(path).await.map_err(named)
}

/// One JSON object per line. Empty lines count but hold no order.
pub(crate) struct Lines {
    reader: BufReader<Box<dyn AsyncRead + Unpin + Send>>,
    line: Vec<u8>,
    number: u64,
}

impl Lines {
    fn new(reader: impl AsyncRead + Unpin + Send + 'static) -> Self {
        Self {
            reader: BufReader::new(Box::new(reader)),
            line: Vec::new(),
            number: 0,
        }
    }

    async fn next(&mut self) -> io::Result<Option<Result<OrderPlaced, String>>> {
        loop {
            self.line.clear();
            // Bytes, not text: a line that is not UTF-8 is one bad line and not the end.
            if self.reader.read_until(b'\n', &mut self.line).await? == 0 {
                return Ok(None);
            }
            self.number += 1;
            let line = self.line.trim_ascii();
            if !line.is_empty() {
                return Ok(Some(
                    serde_json::from_slice(line).map_err(|error| explain(&error)),
                ));
            }
        }
    }
}

/// The parser takes each line for a text of its own, so its line number is always 1.
fn explain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(text) => format!("{text} at column {}", error.column()),
        None => text,
    }
}
