//! The lines of a stream, file by file.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::Path;

use crate::stream::Stream;

/// Shows each line of a stream without its end, oldest first.
pub(crate) fn each(folder: &Path, stream: Stream, show: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<()> {
    let live = folder.join(format!("{}.jsonl", stream.name()));
    let file = match File::open(live) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        if show(line.trim_ascii_end()).is_break() {
            break;
        }
        line.clear();
    }
    Ok(())
}
