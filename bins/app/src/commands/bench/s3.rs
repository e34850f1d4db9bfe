//! What a bucket takes of large objects from our store, through a real Garage that the row starts: the bare client's
//! loop, and ours, in turns.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as At;
use object_store::{ClientOptions, ObjectStoreExt, WriteMultipart};
use ssmd_core::environment::{Secret, StoreSpec};
use ssmd_core::{Error, ErrorKind, ObjectPath, PutMode, Result, Store};
use ssmd_storage::S3Store;

use super::figure::{Figure, median};
use super::ground::Ground;
use super::servers::{ROUNDS, SHARE, rate, server, tool};

/// An object of a round: the largest segment. A test only sees that the row runs.
const OBJECT_BYTES: usize = if cfg!(test) { 20 } else { 64 } * 1024 * 1024;
/// How long Garage may take to be set up.
const SET_UP_WITHIN: Duration = Duration::from_secs(60);
/// The bucket, and its region.
const BUCKET: &str = "bench";
const REGION: &str = "garage";
/// The keys of a server that nobody else reaches and that ends with the row.
const ACCESS_KEY_ID: &str = "GK0123456789abcdef01234567";
const SECRET_ACCESS_KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Large objects put in parts by our store, and by the bare client with the same parts.
pub(super) async fn run(ground: &Ground) -> Result<Vec<Figure>> {
    let folder = ground.fresh("s3")?;
    let (program, config) = (tool("bin/garage"), folder.join("garage.toml"));
    let arguments = |port: u16| {
        // It cannot be written where nothing can be measured either.
        let _ = free_port().map(|rpc| std::fs::write(&config, configuration(&folder, port, rpc)));
        vec!["-c".to_owned(), config.display().to_string(), "server".to_owned()]
    };
    let Some((_server, port)) = server(ground, &program, arguments).await? else {
        return Ok(Vec::new());
    };
    set_up(ground, &program, &config).await?;
    let endpoint = format!("http://127.0.0.1:{port}");
    let (ours, bare) = (store(&folder, &endpoint)?, bucket(&endpoint)?);
    let body = Bytes::from(vec![b'x'; OBJECT_BYTES]);
    let (path, at) = ("ours".parse::<ObjectPath>()?, At::from("bare"));
    let (mut put, mut put_bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        put_bare.push(rate(ground, body.len(), parts(&bare, &at, body.clone())).await? / 1e6);
        put.push(rate(ground, body.len(), ours.put(&path, body.clone(), PutMode::Overwrite)).await? / 1e6);
    }
    let (put, put_bare) = (median(&mut put), median(&mut put_bare));
    let figure = Figure::least("s3_multipart_put", 100.0 * put / put_bare.max(1e-6), SHARE, "% of bare");
    Ok(vec![figure.beside("mb_per_second", put).beside("bare_mb_per_second", put_bare)])
}

fn failed() -> Error {
    Error::new(ErrorKind::Unavailable, "bench s3")
}

fn free_port() -> Result<u16> {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    port.map(|address| address.port()).map_err(|cause| Error::io("find a free port", cause))
}

fn configuration(folder: &Path, port: u16, rpc: u16) -> String {
    let (here, secret) = (folder.display(), "0".repeat(64));
    format!(
        "metadata_dir = \"{here}/meta\"\ndata_dir = \"{here}/data\"\ndb_engine = \"sqlite\"\n\
         replication_factor = 1\nrpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\n\
         rpc_secret = \"{secret}\"\n[s3_api]\ns3_region = \"{REGION}\"\napi_bind_addr = \"127.0.0.1:{port}\"\n"
    )
}

/// One node that keeps everything, a key and a bucket.
async fn set_up(ground: &Ground, program: &str, config: &Path) -> Result<()> {
    let garage = |arguments: &[&str]| {
        let ran = Command::new(program).arg("-c").arg(config).args(arguments).output().ok()?;
        ran.status.success().then(|| String::from_utf8_lossy(&ran.stdout).into_owned())
    };
    let mut node = None;
    ground
        .until("ask garage", SET_UP_WITHIN, || {
            node = garage(&["node", "id", "-q"]);
            node.is_some()
        })
        .await?;
    let node = node.unwrap_or_default();
    let node = node.trim().split('@').next().unwrap_or_default();
    for arguments in [
        &["layout", "assign", "-z", "dc1", "-c", "4G", node][..],
        &["layout", "apply", "--version", "1"],
        &["key", "import", "--yes", "-n", "bench", ACCESS_KEY_ID, SECRET_ACCESS_KEY],
        &["bucket", "create", BUCKET],
        &["bucket", "allow", "--read", "--write", "--owner", BUCKET, "--key", ACCESS_KEY_ID],
    ] {
        ground.until("set up garage", SET_UP_WITHIN, || garage(arguments).is_some()).await?;
    }
    Ok(())
}

fn store(folder: &Path, endpoint: &str) -> Result<S3Store> {
    let StoreSpec::S3(mut spec) =
        StoreSpec::parse(&format!("s3://{BUCKET}?endpoint={endpoint}&region={REGION}"))?
    else {
        return Err(Error::new(ErrorKind::Bug, "bench s3"));
    };
    for (name, value) in [("access_key_id", ACCESS_KEY_ID), ("secret_access_key", SECRET_ACCESS_KEY)] {
        let path = folder.join(name);
        std::fs::write(&path, value).map_err(|cause| Error::io("write key", cause))?;
        spec.keys.insert(name.to_owned(), Secret::File(path.display().to_string()));
    }
    S3Store::open(&spec)
}

fn bucket(endpoint: &str) -> Result<AmazonS3> {
    let builder = AmazonS3Builder::new()
        .with_bucket_name(BUCKET)
        .with_region(REGION)
        .with_endpoint(endpoint)
        .with_access_key_id(ACCESS_KEY_ID)
        .with_secret_access_key(SECRET_ACCESS_KEY)
        .with_virtual_hosted_style_request(false)
        .with_client_options(ClientOptions::new().with_allow_http(true));
    builder.build().map_err(|cause| failed().because(cause))
}

/// Puts an object with parts as large, and as many at once, as our store has.
async fn parts(bucket: &AmazonS3, at: &At, mut body: Bytes) -> Result<()> {
    let failed = |cause| failed().because(cause);
    let upload = bucket.put_multipart(at).await.map_err(failed)?;
    let mut parts = WriteMultipart::new_with_chunk_size(upload, S3Store::PART_BYTES);
    while !body.is_empty() {
        parts.wait_for_capacity(S3Store::PARTS_AT_ONCE - 1).await.map_err(failed)?;
        parts.put(body.split_to(S3Store::PART_BYTES.min(body.len())));
    }
    parts.finish().await.map(drop).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_loops_put_their_objects_into_a_real_garage() {
        let parent = tempfile::tempdir().unwrap();
        // A machine may keep its temporary files in memory, which is refused.
        let Ok(ground) = Ground::take(Some(parent.path()), false) else { return };
        let figures = run(&ground).await.unwrap();
        if figures.is_empty() {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "run scripts/install-test-tools");
            return println!("skipped: there is no garage; scripts/install-test-tools makes one");
        }
        assert!(
            figures.len() == 1 && !figures[0].to_string().contains("mb_per_second 0.00"),
            "{}",
            figures[0]
        );
    }
}
