//! Which addresses a feed may have. Text in, a refusal or nothing out.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The longest address, in bytes: what servers commonly accept.
const URL_BYTES_MAX: usize = 2048;

/// Why an address is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum UrlFault {
    /// It is not an address of the form it must have.
    Form(&'static str),
    /// It would send market data, or keys, in the open to another machine: the scheme.
    Plaintext(String),
}

/// Checks `scheme://host[:port][/path][?query]` with one of these schemes; those in `local` are for this machine
/// only.
pub(super) fn check(text: &str, schemes: &[&str], local: &[&str]) -> Result<(), UrlFault> {
    if text.len() > URL_BYTES_MAX {
        return Err(UrlFault::Form("it is longer than 2048 bytes"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(UrlFault::Form("it holds white space, control or non-ASCII characters"));
    }
    let (scheme, rest) = text.split_once("://").ok_or(UrlFault::Form("it has no scheme"))?;
    if !schemes.contains(&scheme) {
        return Err(UrlFault::Form("the scheme does not fit"));
    }
    if rest.contains('#') {
        return Err(UrlFault::Form("it has a fragment, which is never sent"));
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(UrlFault::Form("it holds credentials; name them under `keys`"));
    }
    let host = host(authority)?;
    if local.contains(&scheme) && !is_loopback(host) {
        return Err(UrlFault::Plaintext(scheme.to_owned()));
    }
    Ok(())
}

/// The host, without brackets and port, both checked.
fn host(authority: &str) -> Result<&str, UrlFault> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or(UrlFault::Form("the bracket is not closed"))?;
        host.parse::<Ipv6Addr>().map_err(|_| UrlFault::Form("the brackets hold no IPv6 address"))?;
        let port = match port {
            "" => None,
            port => Some(port.strip_prefix(':').ok_or(UrlFault::Form("the port must follow a colon"))?),
        };
        (host, port)
    } else {
        match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    if !authority.starts_with('[') && !is_name(host) {
        return Err(UrlFault::Form("the host is missing or not a host's name"));
    }
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    match port.map(|port| (digits(port), port.parse::<u16>())) {
        None => Ok(host),
        Some((true, Ok(port))) if port != 0 => Ok(host),
        Some(_) => Err(UrlFault::Form("the port is not a number from 1 to 65535")),
    }
}

fn is_name(host: &str) -> bool {
    let label = |label: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !label.is_empty() && label.len() <= 63 && label.bytes().all(fits)
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    host.len() <= 253 && host.split('.').all(label)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || host.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WS: &[&str] = &["ws", "wss"];

    #[test]
    fn addresses_are_checked() {
        for text in [
            "wss://ws.kraken.com/v2",
            "wss://a",
            "wss://a:443?x=1",
            "ws://127.0.0.1:9000/v2",
            "ws://127.8.8.8",
            "ws://localhost:1/",
            "ws://[::1]:9000/v2",
            "wss://[2001:db8::1]/",
            "wss://ws.example.com./",
        ] {
            assert_eq!(check(text, WS, &["ws"]), Ok(()), "{text}");
        }
        for text in ["ws://10.0.0.1", "ws://ws.kraken.com", "ws://127.0.0.1.example.com", "ws://[::2]/"] {
            assert_eq!(check(text, WS, &["ws"]), Err(UrlFault::Plaintext("ws".into())), "{text}");
            assert_eq!(check(text, WS, &[]), Ok(()), "{text}");
        }
        for text in [
            "",
            "wss",
            "wss:",
            "wss://",
            "wss:///v2",
            "https://a",
            "WSS://a",
            "wss://a b",
            "wss://a#b",
            "wss://u:p@a",
            "wss://a:0",
            "wss://a:70000",
            "wss://a:+1",
            "wss://a:",
            "wss://[::1",
            "wss://[x]",
            "wss://[::1]9",
            "wss://a..b",
            "wss://é.com",
            "ws://127.0.0.1@evil.com",
            "wss://a\\b",
        ] {
            assert!(matches!(check(text, WS, &[]), Err(UrlFault::Form(_))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "(wss?://)?[\\PC\\[\\]:@/?#.]{0,40}") {
            let _ = check(&text, WS, &["ws"]);
        }
    }
}
