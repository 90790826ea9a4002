//! The calls of librdkafka for which the safe wrapper has none: a topic's id, the generation and member
//! id of a group member, the end of a log that the client knows without asking, and the leader epoch of a record. The
//! only unsafe code of the crate.
//!
//! Every pointer that librdkafka hands out here is either owned by a guard that frees it, or borrowed
//! from such a guard and not kept past it. All calls are thread-safe by librdkafka's documentation.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::bindings as sys;
use rdkafka::client::Client;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::message::BorrowedMessage;

use crate::error::{Fatal, Result};

/// Frees what librdkafka allocated, with the function that its documentation names for it.
struct Owned<T> {
    pointer: NonNull<T>,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// None when librdkafka gave a null pointer.
    fn new(pointer: *mut T, free: unsafe extern "C" fn(*mut T)) -> Option<Owned<T>> {
        NonNull::new(pointer).map(|pointer| Owned { pointer, free })
    }

    fn get(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the allocating twin of `free` and is freed only here.
        unsafe { (self.free)(self.pointer.as_ptr()) }
    }
}

/// Who a consumer is in its group, at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    pub generation: i32,
    pub id: String,
}

impl Member {
    /// Whether the broker would check a commit in this member's name. It does not where the
    /// generation is negative or the member unnamed: such a commit would pass any fence.
    #[must_use]
    pub fn is_fenced_in(&self) -> bool {
        self.generation >= 0 && !self.id.is_empty()
    }
}

/// The consumer's generation and member id, none when it has no group.
pub fn member<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Option<Member> {
    let client = consumer.client().native_ptr();
    // SAFETY: the client lives as long as the borrowed consumer; the metadata is a copy that the
    // guard frees, and the member id is copied before that.
    unsafe {
        let metadata = Owned::new(
            sys::rd_kafka_consumer_group_metadata(client),
            sys::rd_kafka_consumer_group_metadata_destroy,
        )?;
        let id = sys::rd_kafka_consumer_group_metadata_member_id(metadata.get());
        let id = if id.is_null() {
            String::new()
        } else {
            text(id)
        };
        let generation = sys::rd_kafka_consumer_group_metadata_generation_id(metadata.get());
        Some(Member { generation, id })
    }
}

/// The end of a partition's log as the last fetch saw it; none before the first. Asks nobody.
pub fn end_offset<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
) -> Option<i64> {
    let name = CString::new(topic).ok()?;
    let (mut low, mut high) = (0, 0);
    // SAFETY: the client lives as long as the borrowed consumer, the name and both numbers as long as
    // the call.
    let error = unsafe {
        let client = consumer.client().native_ptr();
        sys::rd_kafka_get_watermark_offsets(client, name.as_ptr(), partition, &mut low, &mut high)
    };
    let is_known = error == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0;
    is_known.then_some(high)
}

/// The epoch of the partition's leader that appended the record; none where the broker tells none. Asks
/// nobody.
#[must_use]
pub fn leader_epoch(message: &BorrowedMessage<'_>) -> Option<i32> {
    // SAFETY: the message lives as long as the borrow, and is only read.
    let epoch = unsafe { sys::rd_kafka_message_leader_epoch(message.ptr()) };
    (epoch >= 0).then_some(epoch)
}

/// Who knows the ids of topics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TopicIds {
    /// The brokers, as in every real cluster.
    Broker,
    /// Nobody: the embedded broker of the demo cannot be asked, and lives no longer than its topics.
    Embedded,
}

impl TopicIds {
    /// The id that the broker gave a topic when it was created, as Kafka's own tools write it.
    ///
    /// # Errors
    /// When the cluster does not answer in time, or does not know the topic.
    pub fn of<C: ClientContext>(
        self,
        client: &Client<C>,
        topic: &str,
        timeout: Duration,
    ) -> Result<String> {
        match self {
            TopicIds::Broker => topic_id(client, topic, timeout),
            TopicIds::Embedded => Ok(format!("embedded-{topic}")),
        }
    }
}

/// The id that the broker gave a topic when it was created, as Kafka's own tools write it.
///
/// # Errors
/// When the cluster does not answer in time, or does not know the topic.
fn topic_id<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> Result<String> {
    let fault = |what: &str| Fatal::unreachable(format!("asking for the id of `{topic}`: {what}"));
    let name = CString::new(topic).map_err(|_| fault("the name holds a zero byte"))?;
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let handle = client.native_ptr();
    // SAFETY: each guard owns what it was given; the result, the description and the id are borrowed
    // from the event and copied into strings before it is dropped; `name` outlives the call, which
    // copies it.
    unsafe {
        let queue = Owned::new(sys::rd_kafka_queue_new(handle), sys::rd_kafka_queue_destroy)
            .ok_or_else(|| fault("no queue"))?;
        let mut names = [name.as_ptr()];
        let topics = Owned::new(
            sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()),
            sys::rd_kafka_TopicCollection_destroy,
        )
        .ok_or_else(|| fault("no collection"))?;
        let options = Owned::new(
            sys::rd_kafka_AdminOptions_new(
                handle,
                sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            ),
            sys::rd_kafka_AdminOptions_destroy,
        )
        .ok_or_else(|| fault("no options"))?;
        sys::rd_kafka_AdminOptions_set_request_timeout(
            options.get(),
            millis,
            std::ptr::null_mut(),
            0,
        );
        sys::rd_kafka_DescribeTopics(handle, topics.get(), options.get(), queue.get());
        let event = Owned::new(
            sys::rd_kafka_queue_poll(queue.get(), millis.saturating_add(1000)),
            sys::rd_kafka_event_destroy,
        )
        .ok_or_else(|| fault("no answer in time"))?;
        let error = sys::rd_kafka_event_error(event.get());
        if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(fault(&text(sys::rd_kafka_event_error_string(event.get()))));
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event.get());
        if result.is_null() {
            return Err(fault("another answer"));
        }
        let mut count = 0;
        let descriptions = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if count != 1 || descriptions.is_null() {
            return Err(fault("no description"));
        }
        let description = *descriptions;
        let error = sys::rd_kafka_TopicDescription_error(description);
        if !error.is_null()
            && sys::rd_kafka_error_code(error)
                != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            return Err(fault(&text(sys::rd_kafka_error_string(error))));
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(description);
        if id.is_null() {
            return Err(fault(
                "the broker gives topics no ids; it is older than 2.8",
            ));
        }
        Ok(url_safe(&text(sys::rd_kafka_Uuid_base64str(id))))
    }
}

/// Kafka's tools write ids in the URL-safe alphabet, librdkafka in the other.
fn url_safe(base64: &str) -> String {
    base64
        .trim_end_matches('=')
        .replace('+', "-")
        .replace('/', "_")
}

/// # Safety
/// `pointer` is a C string, ended by zero, that lives during the call.
unsafe fn text(pointer: *const std::ffi::c_char) -> String {
    // SAFETY: the caller's.
    unsafe { CStr::from_ptr(pointer) }
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::config::ClientConfig;

    #[test]
    fn ids_are_written_as_kafka_writes_them() {
        assert_eq!(url_safe("q+7/AA=="), "q-7_AA");
    }

    #[test]
    fn a_member_that_no_broker_checks_is_told_apart() {
        let member = |generation, id: &str| Member {
            generation,
            id: id.to_owned(),
        };
        assert!(member(0, "m").is_fenced_in());
        assert!(!member(-1, "m").is_fenced_in());
        assert!(!member(3, "").is_fenced_in());
    }

    #[test]
    fn an_unsubscribed_consumer_is_in_no_generation() {
        let consumer: BaseConsumer = ClientConfig::new().set("group.id", "g").create().unwrap();
        assert!(!member(&consumer).unwrap().is_fenced_in());
    }
}
