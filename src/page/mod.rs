//! page
use crate::debounce::Policy;
use crate::record::{Investigation, Record};
use jiff::Timestamp;
use std::io;
use std::path::Path;
pub struct Page<'a> {
    pub title: String,
    pub log: &'a Path,
    pub record: &'a Record,
    pub shown: &'a [&'a Investigation],
    pub policy: &'a Policy,
    pub since: Option<Timestamp>,
    pub now: Option<Timestamp>,
}
pub fn print(_page: &Page<'_>) -> io::Result<()> {
    Ok(())
}
