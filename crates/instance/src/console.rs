//! The console log: what process 1 and the user data wrote, bounded.
use crate::{Result, error::Trying};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// What is handed out at most, in bytes: as AWS's GetConsoleOutput.
pub(crate) const TAIL: usize = 64 * 1024;
/// What the file grows to before its beginning is dropped.
const MOST: u64 = 2 * TAIL as u64;

pub(crate) struct Console {
    file: File,
    length: u64,
}

impl Console {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .trying(format!("open {}", path.display()))?;
        let length = file.metadata().trying("look at the console log")?.len();
        Ok(Self { file, length })
    }

    /// Adds bytes; the oldest go when there are too many.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let what = "write the console log";
        if self.length + bytes.len() as u64 > MOST {
            let kept = read_tail(&mut self.file).trying(what)?;
            self.file.set_len(0).trying(what)?;
            self.file.seek(SeekFrom::Start(0)).trying(what)?;
            self.file.write_all(&kept).trying(what)?;
            self.length = kept.len() as u64;
        }
        self.file.seek(SeekFrom::Start(self.length)).trying(what)?;
        self.file.write_all(bytes).trying(what)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Adds a line of Atoll's own.
    pub(crate) fn note(&mut self, line: &str) {
        let _ = self.append(format!("[atoll] {line}\n").as_bytes());
    }
}

fn read_tail(file: &mut File) -> std::io::Result<Vec<u8>> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL as u64)))?;
    let mut bytes = Vec::new();
    file.take(TAIL as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The last 64 KiB of a console log; empty if there is none yet.
pub(crate) fn tail(path: &Path) -> Result<Vec<u8>> {
    match File::open(path) {
        Ok(mut file) => read_tail(&mut file).trying(format!("read {}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).trying(format!("open {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_keeps_its_last_part_and_stays_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("console.log");
        let mut console = Console::open(&path).unwrap();
        for n in 0..60_000 {
            console.append(format!("{n:07}\n").as_bytes()).unwrap();
        }
        assert!(std::fs::metadata(&path).unwrap().len() <= MOST);
        let tail = tail(&path).unwrap();
        assert_eq!(tail.len(), TAIL);
        assert!(tail.ends_with(b"0059998\n0059999\n"));
    }
}
