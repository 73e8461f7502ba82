//! Which certificates are trusted: those of `SSL_CERT_FILE` where it is set, otherwise the
//! system's. The platform's verifier would read the variable too, but from the process's
//! environment alone, and under cron it stands in the env file.

use std::path::Path;

use ureq::tls::{PemItem, RootCerts, parse_pem};

use super::Failed;

/// The roots; a file that gives none fails the request, since nothing could be trusted.
pub(super) fn roots(file: Option<&Path>) -> Result<RootCerts, Failed> {
    let Some(file) = file else {
        return Ok(RootCerts::PlatformVerifier);
    };
    let path = file.display();
    let pem = std::fs::read(file)
        .map_err(|error| Failed::not_sent(format!("SSL_CERT_FILE: cannot read {path}: {error}")))?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        let cause = format!("SSL_CERT_FILE: there is no certificate in {path}");
        return Err(Failed::not_sent(cause));
    }
    Ok(RootCerts::from(certificates))
}
