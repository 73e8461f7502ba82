//! Section 4: position and rotation.

mod alike;
mod compressions;
mod faults;
mod files;
mod gzip;
mod logrotate;
mod plain;
mod races;
mod rows;
