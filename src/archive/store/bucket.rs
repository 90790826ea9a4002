//! An archive in a bucket of S3, or of a store that speaks its protocol.
//!
//! Creates with `If-None-Match: *`. Retries nothing itself: what is repeated is decided, and bounded,
//! above. Calls are blocking; the requests run on the runtime whose handle is given.

use std::error::Error as _;
use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::path::Path;
use object_store::{
    ClientOptions, Error, ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions, PutPayload,
    RetryConfig,
};
use tokio::runtime::Handle;

use super::{Created, Store, StoreError};
use crate::error::{Fatal, Result};

/// How long one request may take: this, and as long as the largest object needs at the lowest speed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const BYTES_PER_SECOND_MIN: u64 = 1 << 20;

/// How long one request may take in an archive whose objects are not larger than `bytes`. A thread that
/// waits for one does not poll its consumer, so it is never more than a third of `poll_interval_max`.
#[must_use]
pub fn request_timeout(bytes: usize, poll_interval_max: Duration) -> Duration {
    let transfer = Duration::from_secs(bytes as u64 / BYTES_PER_SECOND_MIN);
    (REQUEST_TIMEOUT + transfer).min(poll_interval_max / 3)
}

/// S3's code for a bucket that is not there.
const NO_BUCKET: &str = "NoSuchBucket";
/// Where credentials are asked for when the environment has none: part of the address on an AWS machine.
const INSTANCE_METADATA: &str = "/latest/api/token";

const NO_BUCKET_FIX: &str = "create the bucket, or correct archive.url";
const NO_CREDENTIALS_FIX: &str = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment: \
    there are no credentials, and this machine has no role that gives some";
const DENIED_FIX: &str = "see that the credentials in the environment are those of this store, and that \
    they allow s3:GetObject, s3:PutObject and s3:ListBucket (nothing is listed, but without it S3 does \
    not say whether an object is there)";
const NOT_IMPLEMENTED_FIX: &str = "use a store that has conditional put (If-None-Match)";

/// A bucket, or a folder of one.
#[derive(Debug)]
pub struct Bucket {
    store: AmazonS3,
    place: String,
    prefix: String,
    runtime: Handle,
}

impl Bucket {
    /// Opens `s3://bucket/prefix`. Credentials, region and the like come from the `AWS_…` environment
    /// variables, then from `options`, which have the names of `object_store` (`aws_endpoint`, …).
    ///
    /// A request that takes longer than `timeout` has failed; see [`request_timeout`].
    ///
    /// `runtime` must be driven by another thread for as long as the store is used, and calls must not
    /// come from that runtime's own threads.
    ///
    /// # Errors
    /// When the URL or an option is not valid.
    pub fn open<'a>(
        url: &str,
        options: impl IntoIterator<Item = (&'a str, &'a str)>,
        timeout: Duration,
        runtime: Handle,
    ) -> Result<Bucket> {
        let place = url.trim_end_matches('/').to_owned();
        let refuse = |error: &dyn Display| {
            Fatal::usage(format!("cannot open the archive at `{place}`: {error}"))
        };
        let name = place
            .strip_prefix("s3://")
            .ok_or_else(|| refuse(&"the url must begin with s3://"))?;
        let (bucket, prefix) = name.split_once('/').unwrap_or((name, ""));
        let mut builder = AmazonS3Builder::from_env();
        for (name, value) in options {
            let key: AmazonS3ConfigKey = name
                .parse()
                .map_err(|_| refuse(&format!("there is no option `{name}`")))?;
            builder = builder.with_config(key, value);
        }
        let allows_http = builder
            .get_config_value(&AmazonS3ConfigKey::Client(
                object_store::ClientConfigKey::AllowHttp,
            ))
            .is_some_and(|value| value == "true");
        let client = ClientOptions::new()
            .with_timeout(timeout)
            .with_allow_http(allows_http);
        let no_retries = RetryConfig {
            max_retries: 0,
            ..RetryConfig::default()
        };
        let store = builder
            .with_bucket_name(bucket)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_retry(no_retries)
            .with_client_options(client)
            .build()
            .map_err(|error| refuse(&error))?;
        let prefix = match prefix {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Ok(Bucket {
            store,
            place,
            prefix,
            runtime,
        })
    }

    fn path(&self, path: &str) -> Result<Path, StoreError> {
        let path = Path::parse(format!("{}{path}", self.prefix));
        path.map_err(StoreError::new)
    }
}

fn present<T>(result: object_store::Result<T>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(found) => Ok(Some(found)),
        // No bucket is not the same as no object.
        Err(error)
            if matches!(error, Error::NotFound { .. })
                && element(&error.to_string(), "Code") != Some(NO_BUCKET) =>
        {
            Ok(None)
        }
        Err(error) => Err(told(&error)),
    }
}

/// What went wrong in one line, with what to mend where that is known. Of the server's own document only
/// code and message are told: it may repeat the key and what was signed.
fn told(error: &Error) -> StoreError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    let fix = fix(error, &text);
    let document = text.find("<?xml").or_else(|| text.find("<Error"));
    let text = match document {
        Some(start) => {
            let words = [element(&text, "Code"), element(&text, "Message")];
            let words: Vec<&str> = words.into_iter().flatten().collect();
            format!("{}{}", &text[..start], words.join(", "))
        }
        None => text,
    };
    let error = StoreError::new(text);
    match fix {
        Some(fix) => error.needs(fix),
        None => error,
    }
}

fn fix(error: &Error, text: &str) -> Option<&'static str> {
    if text.contains(INSTANCE_METADATA) {
        return Some(NO_CREDENTIALS_FIX);
    }
    match (error, element(text, "Code")) {
        (_, Some(NO_BUCKET)) => Some(NO_BUCKET_FIX),
        (_, Some("NotImplemented")) => Some(NOT_IMPLEMENTED_FIX),
        (Error::PermissionDenied { .. } | Error::Unauthenticated { .. }, _) => Some(DENIED_FIX),
        _ => None,
    }
}

/// What stands in the first element of that name in the server's answer.
fn element<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once("</").map(|(content, _)| content)
}

impl Store for Bucket {
    fn get(&self, path: &str) -> Result<Option<Bytes>, StoreError> {
        let path = self.path(path)?;
        self.runtime.block_on(async {
            match present(self.store.get(&path).await)? {
                Some(found) => present(found.bytes().await),
                None => Ok(None),
            }
        })
    }

    fn size(&self, path: &str) -> Result<Option<u64>, StoreError> {
        let path = self.path(path)?;
        let found = self.runtime.block_on(self.store.head(&path));
        Ok(present(found)?.map(|data| data.size))
    }

    fn create(&self, path: &str, bytes: &Bytes) -> Result<Created, StoreError> {
        let path = self.path(path)?;
        let payload = PutPayload::from(bytes.clone());
        let options = PutOptions::from(PutMode::Create);
        match self
            .runtime
            .block_on(self.store.put_opts(&path, payload, options))
        {
            Ok(_) => Ok(Created::New),
            // 412, and also 409: somebody else is creating it, and may fail.
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(Created::Refused),
            Err(error) => Err(told(&error)),
        }
    }

    fn replace(&self, path: &str, bytes: &Bytes) -> Result<(), StoreError> {
        let path = self.path(path)?;
        let payload = PutPayload::from(bytes.clone());
        let put = self.runtime.block_on(self.store.put(&path, payload));
        put.map(|_| ()).map_err(|error| told(&error))
    }

    fn place(&self) -> String {
        self.place.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_object_has_more_time_but_never_as_much_as_a_consumer_may_be_silent() {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        assert_eq!(
            request_timeout(60 << 20, minutes(5)),
            Duration::from_secs(90)
        );
        assert_eq!(
            request_timeout(4 << 30, minutes(5)),
            Duration::from_secs(100)
        );
    }

    #[test]
    fn wrong_urls_and_options_are_refused_by_name() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let open = |url, options: &[(&'static str, &'static str)]| {
            Bucket::open(
                url,
                options.iter().copied(),
                REQUEST_TIMEOUT,
                runtime.handle().clone(),
            )
        };
        let error = open("http://b", &[]).unwrap_err();
        assert!(error.message.contains("s3://"), "{error}");
        let error = open("s3://b/p", &[("aws_colour", "red")]).unwrap_err();
        assert!(error.message.contains("aws_colour"), "{error}");
        let bucket = open("s3://b/p/q/", &[("aws_region", "here")]).unwrap();
        assert_eq!(bucket.place(), "s3://b/p/q");
        let path = "segments/dt=2023-11-14/payments.evidence-3-00000000000000000042-7.parquet";
        assert_eq!(
            bucket.path(path).unwrap().as_ref(),
            format!("p/q/{path}"),
            "object_store must not rewrite paths"
        );
    }
}
