//! Whether a store really creates an object only once. Some take the condition and ignore it; some look first and
//! write then, so that of creates at once several win.

use std::fmt::Write as _;

use futures_util::future::join_all;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use ssmd_core::{Error, ErrorKind, Origin, Result};

use super::translate;

/// What the names of a probe's objects begin with.
const PREFIX: &str = "ssmd-probe";
/// Creates of one object at once.
const AT_ONCE: usize = 16;
/// Objects that are created so. Of a store that looks first and writes then, a round was seen to let one win once in
/// three.
const ROUNDS: usize = 3;

/// Tries it, one after the other and at once, and removes what it made.
///
/// # Errors
/// What keeps it from finding out.
///
/// # Cancel safety
/// Dropping the future may leave objects of a few bytes, whose names begin with `ssmd-probe`.
pub(super) async fn creates_once(store: &dyn ObjectStore) -> Result<bool> {
    let name = |at: usize| {
        let mut name = format!("{PREFIX}/{}", Origin::new_random());
        // Writing to a `String` cannot fail.
        let _ = write!(name, "-{at}");
        Path::from(name)
    };
    let names: Vec<_> = (0..=ROUNDS).map(name).collect();
    let found = ask(store, &names).await;
    for name in &names {
        match store.delete(name).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(cause) => {
                let error = translate("remove probe", name, cause);
                tracing::warn!(%name, %error, "an object of the probe stays");
            }
        }
    }
    found
}

async fn ask(store: &dyn ObjectStore, names: &[Path]) -> Result<bool> {
    let (alone, raced) = names.split_at(1);
    for name in alone {
        match create(store, name).await? {
            // That it exists is the answer to a create that was sent again since its answer was lost.
            Created::Won | Created::Lost => {}
            Created::Unable => return Ok(false),
        }
        if create(store, name).await? != Created::Lost {
            return Ok(false);
        }
    }
    for name in raced {
        let creates = join_all((0..AT_ONCE).map(|_| create(store, name))).await;
        let mut won = 0;
        for created in creates {
            match created? {
                Created::Won => won += 1,
                Created::Lost => {}
                Created::Unable => return Ok(false),
            }
        }
        if won > 1 {
            return Ok(false);
        }
    }
    Ok(true)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Created {
    Won,
    Lost,
    /// The store says that it knows no conditions.
    Unable,
}

async fn create(store: &dyn ObjectStore, name: &Path) -> Result<Created> {
    let put = store.put_opts(name, "whether this is made once".into(), PutMode::Create.into()).await;
    let error: Error = match put {
        Ok(_) => return Ok(Created::Won),
        Err(cause) => translate("probe store", name, cause),
    };
    match error.kind() {
        ErrorKind::AlreadyExists | ErrorKind::Conflict => Ok(Created::Lost),
        ErrorKind::Unsupported => Ok(Created::Unable),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream::BoxStream;
    use object_store::memory::InMemory;
    use object_store::{
        CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions,
        PutOptions, PutPayload, PutResult,
    };

    use super::*;

    type Done<T> = object_store::Result<T>;

    /// How a store takes the condition of a create.
    #[derive(Clone, Copy, Debug)]
    enum Takes {
        Seriously,
        /// As Garage does.
        NoNotice,
        /// As those that look first and write then.
        Time,
    }

    #[derive(Debug)]
    struct Taking(InMemory, Takes);

    impl std::fmt::Display for Taking {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{:?}", self.1)
        }
    }

    #[async_trait::async_trait]
    impl ObjectStore for Taking {
        async fn put_opts(&self, path: &Path, body: PutPayload, options: PutOptions) -> Done<PutResult> {
            match self.1 {
                Takes::Seriously => return self.0.put_opts(path, body, options).await,
                Takes::NoNotice => {}
                Takes::Time if self.0.head(path).await.is_ok() => {
                    let source = "it is there".into();
                    return Err(object_store::Error::AlreadyExists { path: path.to_string(), source });
                }
                Takes::Time => tokio::task::yield_now().await,
            }
            self.0.put(path, body).await
        }

        async fn put_multipart_opts(
            &self,
            path: &Path,
            options: PutMultipartOptions,
        ) -> Done<Box<dyn MultipartUpload>> {
            self.0.put_multipart_opts(path, options).await
        }

        async fn get_opts(&self, path: &Path, options: GetOptions) -> Done<GetResult> {
            self.0.get_opts(path, options).await
        }

        fn delete_stream(&self, paths: BoxStream<'static, Done<Path>>) -> BoxStream<'static, Done<Path>> {
            self.0.delete_stream(paths)
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Done<ObjectMeta>> {
            self.0.list(prefix)
        }

        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Done<ListResult> {
            self.0.list_with_delimiter(prefix).await
        }

        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Done<()> {
            self.0.copy_opts(from, to, options).await
        }
    }

    #[tokio::test]
    async fn only_a_store_that_takes_conditions_seriously_creates_once_and_nothing_stays() {
        for (takes, expected) in [(Takes::Seriously, true), (Takes::NoNotice, false), (Takes::Time, false)] {
            let store = Taking(InMemory::new(), takes);
            assert_eq!(creates_once(&store).await.unwrap(), expected, "{store}");
            assert_eq!(store.list_with_delimiter(None).await.unwrap().common_prefixes, [], "{store}");
        }
    }
}
