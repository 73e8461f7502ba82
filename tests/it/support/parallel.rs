//! Runs cases that mostly wait side by side.

use std::thread;

/// Runs `test` for every case, each on a thread of its own, and fails if one of them fails.
#[track_caller]
pub fn at_once<T: Send>(cases: impl IntoIterator<Item = T>, test: impl Fn(T) + Sync) {
    let test = &test;
    thread::scope(|scope| {
        for case in cases {
            scope.spawn(move || test(case));
        }
    });
}
