//! Checking the signatures of S3 requests (AWS Signature Version 4).

use sha2::{Digest, Sha256};

use crate::object_server::{Head, REGION};

/// Bytes of a block of SHA-256, which the key of an HMAC fills.
const BLOCK: usize = 64;

/// Whether a request is signed with this access key and its secret.
pub(crate) fn is_valid(head: &Head, key: &str, secret: &str) -> bool {
    expected(head, key, secret).is_some_and(|(found, expected)| found == expected)
}

/// The signature of a request, and what it should be. `None` if the request is not signed with this key.
fn expected(head: &Head, key: &str, secret: &str) -> Option<(String, String)> {
    let authorization = head
        .header("authorization")?
        .strip_prefix("AWS4-HMAC-SHA256 ")?;
    let field = |name: &str| {
        let mut fields = authorization.split(',').map(str::trim);
        fields.find_map(|field| field.strip_prefix(name))
    };
    let scope = field("Credential=")?.strip_prefix(key)?.strip_prefix('/')?;
    let (date, rest) = scope.split_once('/')?;
    if rest != format!("{REGION}/s3/aws4_request") {
        return None;
    }
    let signed = field("SignedHeaders=")?;
    let headers: Option<String> = signed
        .split(';')
        .map(|name| Some(format!("{name}:{}\n", head.header(name)?)))
        .collect();
    let mut query: Vec<&str> = head
        .query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .collect();
    query.sort_unstable();
    let canonical = [
        head.method.as_str(),
        &head.path,
        &query.join("&"),
        &headers?,
        signed,
        head.header("x-amz-content-sha256")?,
    ]
    .join("\n");
    let time = head.header("x-amz-date")?;
    let text = format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        hex(&Sha256::digest(canonical))
    );
    let mut derived = hmac(format!("AWS4{secret}").as_bytes(), date.as_bytes());
    for part in [REGION, "s3", "aws4_request"] {
        derived = hmac(&derived, part.as_bytes());
    }
    Some((
        field("Signature=")?.to_owned(),
        hex(&hmac(&derived, text.as_bytes())),
    ))
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0; BLOCK];
    match key.len() <= BLOCK {
        true => block[..key.len()].copy_from_slice(key),
        false => block[..32].copy_from_slice(&Sha256::digest(key)),
    }
    let padded = |mask: u8| block.map(|byte| byte ^ mask);
    let inner = Sha256::new()
        .chain_update(padded(0x36))
        .chain_update(text)
        .finalize();
    let outer = Sha256::new().chain_update(padded(0x5c)).chain_update(inner);
    outer.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test case 2 of RFC 4231.
    #[test]
    fn hmac_of_the_standard() {
        assert_eq!(
            hex(&hmac(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
