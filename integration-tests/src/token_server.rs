//! A token service for registries (distribution's "token authentication"), for one user with one password.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use crate::sandbox::path;

/// What the registry is called, to the service.
const SERVICE: &str = "registry.test";

/// Who issues the tokens.
const ISSUER: &str = "issuer.test";

/// The user that the service knows.
pub const USER: &str = "someone";

/// The user's password, which nothing else looks like.
pub const PASSWORD: &str = "CANARY-of-the-token-service";

/// A request to the service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// GET or POST.
    pub method: String,
    /// The address, with its query.
    pub target: String,
    /// The form of a POST.
    pub form: String,
    /// The header `Authorization`.
    pub authorization: String,
}

/// The service. It ends with the process.
pub struct TokenServer {
    address: String,
    certificate: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

struct Signer {
    pair: EcdsaKeyPair,
    /// In Base64, as tokens have it.
    certificate: String,
}

impl TokenServer {
    /// Starts the service on a free port of the loopback.
    ///
    /// # Errors
    /// When there is none, or no key can be made.
    pub fn start() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
        let key = made.signing_key.serialize_der();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key)
            .ok()
            .context("rcgen makes P-256 keys")?;
        let signer = Signer {
            pair,
            certificate: STANDARD.encode(made.cert.der()),
        };
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let server = Self {
            address: listener.local_addr()?.to_string(),
            certificate: made.cert.pem(),
            asked: Arc::clone(&asked),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Who hangs up in between is not our concern.
                let _hung_up = answer(stream, &signer, &asked);
            }
        });
        Ok(server)
    }

    /// The lines of a registry's configuration that send its clients here.
    ///
    /// # Errors
    /// When the certificate cannot be written into the folder.
    pub fn configuration(&self, folder: &Path) -> Result<String> {
        fs::create_dir_all(folder)?;
        let file = folder.join("issuer.pem");
        fs::write(&file, &self.certificate)?;
        Ok(format!(
            "auth:\n  token:\n    realm: http://{}/token\n    service: {SERVICE}\n    issuer: {ISSUER}\n    \
             rootcertbundle: {}\n",
            self.address,
            path(&file)
        ))
    }

    /// All requests up to now.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        let asked = self.asked.lock();
        asked.map(|asked| asked.clone()).unwrap_or_default()
    }
}

fn answer(stream: TcpStream, signer: &Signer, asked: &Mutex<Vec<Asked>>) -> Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ').map(str::to_owned);
    let mut request = Asked {
        method: words.next().unwrap_or_default(),
        target: words.next().unwrap_or_default(),
        ..Asked::default()
    };
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse()?,
            "authorization" => value.trim().clone_into(&mut request.authorization),
            _ => {}
        }
    }
    let mut form = vec![0; length];
    reader.read_exact(&mut form)?;
    request.form = String::from_utf8(form)?;
    if let Ok(mut asked) = asked.lock() {
        asked.push(request.clone());
    }
    let query = match request.target.split_once('?') {
        Some((_, query)) => format!("{query}&{}", request.form),
        None => request.form.clone(),
    };
    let basic = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    let is_known =
        request.authorization == basic || query.contains(&format!("password={PASSWORD}"));
    let (status, body) = match is_known {
        true => ("200 OK", token(&query, signer)?),
        false => ("401 Unauthorized", "{}".to_owned()),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n");
    let mut stream = reader.into_inner();
    write!(stream, "{head}Content-Length: {length}\r\n\r\n{body}")?;
    Ok(())
}

/// A token for all that is asked for.
fn token(query: &str, signer: &Signer) -> Result<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let scopes = pairs.filter(|(name, _)| *name == "scope");
    let scopes: Vec<_> = scopes
        .map(|(_, value)| {
            value
                .replace("%3A", ":")
                .replace("%2F", "/")
                .replace("%2C", ",")
        })
        .collect();
    let scopes = scopes.iter().flat_map(|scopes| scopes.split(['+', ' ']));
    let access: Vec<_> = scopes
        .filter_map(|scope| {
            let (rest, actions) = scope.rsplit_once(':')?;
            let (kind, name) = rest.split_once(':')?;
            let actions: Vec<_> = actions.split(',').collect();
            Some(json!({ "type": kind, "name": name, "actions": actions }))
        })
        .collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let head = json!({ "typ": "JWT", "alg": "ES256", "x5c": [signer.certificate] });
    let claims = json!({
        "iss": ISSUER, "aud": SERVICE, "sub": USER, "jti": "1",
        "iat": now, "nbf": now - 60, "exp": now + 600, "access": access,
    });
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(head.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let signature = signer
        .pair
        .sign(&SystemRandom::new(), signed.as_bytes())
        .ok()
        .context("P-256 signs")?;
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    Ok(json!({ "token": token, "access_token": token, "expires_in": 600 }).to_string())
}
