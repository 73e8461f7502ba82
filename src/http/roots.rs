//! Which certificates are trusted: those in `SSL_CERT_FILE` if it is set, otherwise the system's.
//! The platform's verifier reads that variable, too, but from the process's environment only, and
//! under cron it is in the env file.

use std::io::Read;
use std::path::Path;

use ureq::tls::{PemItem, RootCerts, parse_pem};

use super::RequestError;
use crate::files::open_without_waiting;

/// Returns the roots. A file without certificates fails the request, since nothing could be trusted.
pub(super) fn roots(file: Option<&Path>) -> Result<RootCerts, RequestError> {
    let Some(file) = file else {
        return Ok(RootCerts::PlatformVerifier);
    };
    let path = file.display();
    let failed = |cause| RequestError::NotSent(format!("SSL_CERT_FILE: {cause}"));
    let mut pem = Vec::new();
    open_without_waiting(file)
        .and_then(|mut file| file.read_to_end(&mut pem))
        .map_err(|error| failed(format!("cannot read {path}: {error}")))?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    match certificates.is_empty() {
        true => Err(failed(format!("there is no certificate in {path}"))),
        false => Ok(RootCerts::from(certificates)),
    }
}
