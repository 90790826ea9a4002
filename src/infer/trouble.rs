//! What a failed run means: too little memory on the device, a device that failed, or values that the model refuses.
//!
//! ONNX Runtime has no code for the first two; its texts are the only sign. Of a text no more is kept than the name
//! of a library and a number: the rest may repeat a value of a row.

use std::fmt;

use ort::ErrorCode;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    /// The device's memory, or the arena's limit, did not hold the chunk.
    OutOfMemory,
    /// The device or its driver failed; no row is to blame.
    Device(Failed),
    /// Anything else, such as a value that the model refuses.
    Other,
}

/// The library that failed, with its own number for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failed(Option<(&'static str, u32)>);

/// Of the arena (`bfc_arena.cc`); a number ends the text.
const ARENA: [&str; 3] = [
    "Failed to allocate memory for requested buffer of size ",
    " is smaller than requested bytes of ",
    "Failed to find a free memory block despite calling Extend. rounded_bytes=",
];

/// Of the libraries (`cuda_call.cc`): `CUDA failure 719: unspecified launch failure ; GPU=0 ; …`. These texts and the
/// arena's are in the library of version 1.31.1.
const LIBRARIES: [&str; 5] = ["CUDA", "CUBLAS", "CUDNN", "CUFFT", "CURAND"];

/// Of the libraries again: cudaErrorMemoryAllocation, and two that have names.
const CUDA_OUT_OF_MEMORY: u32 = 2;
const ALLOCATION_FAILED: [&str; 3] = [
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
];

impl Trouble {
    /// For a session that has a device.
    pub fn of(code: ErrorCode, message: &str) -> Trouble {
        if code == ErrorCode::DeviceReset {
            return Trouble::Device(Failed(None));
        }
        if ARENA.iter().any(|text| ends_with_number(message, text)) {
            return Trouble::OutOfMemory;
        }
        let mut found = LIBRARIES
            .iter()
            .filter_map(|library| Some((*library, number_behind(message, library)?)));
        match found.next() {
            Some(("CUDA", CUDA_OUT_OF_MEMORY)) => Trouble::OutOfMemory,
            Some(_) if ALLOCATION_FAILED.iter().any(|name| message.contains(name)) => {
                Trouble::OutOfMemory
            }
            Some(failed) => Trouble::Device(Failed(Some(failed))),
            None => Trouble::Other,
        }
    }
}

/// Whether the message ends with the text and a number.
fn ends_with_number(message: &str, text: &str) -> bool {
    let digits = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit());
    message
        .rsplit_once(text)
        .is_some_and(|(_, rest)| digits(rest.trim_end()))
}

/// The number in `CUDA failure 719: … ; GPU=0 ; …`. A text that lacks what the library always adds may be a row's.
fn number_behind(message: &str, library: &str) -> Option<u32> {
    let (_, rest) = message.split_once(&format!("{library} failure "))?;
    let (number, rest) = rest.split_once(": ")?;
    rest.contains(" ; GPU=").then(|| number.parse().ok())?
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((library, number)) => write!(f, "{library} failure {number}"),
            None => f.write_str("the device was reset"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(message: &str) -> Trouble {
        Trouble::of(ErrorCode::RuntimeException, message)
    }

    fn device(library: &'static str, number: u32) -> Trouble {
        Trouble::Device(Failed(Some((library, number))))
    }

    /// Texts as users reported them to ONNX Runtime (issues 9939, 20038), and as `bfc_arena.cc` and `cuda_call.cc`
    /// write them.
    #[test]
    fn every_way_to_run_out_of_memory_is_told() {
        let node =
            "Non-zero status code returned while running Gemm node. Name:'hidden' Status Message: ";
        let arena = "/onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* \
            onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) ";
        let texts = [
            format!("{node}{arena}Failed to allocate memory for requested buffer of size 2830172160"),
            format!("{node}{arena}Failed to allocate memory for requested buffer of size 8388608000\n"),
            format!("{arena}Available memory of 512 is smaller than requested bytes of 1048576"),
            format!("{arena}Failed to find a free memory block despite calling Extend. rounded_bytes=256"),
            "cuda_call.cc:129 CUDA failure 2: out of memory ; GPU=0 ; hostname=a ; file=b ; line=9 ; \
             expr=cudaMalloc((void**)&p, size);"
                .to_owned(),
            "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; hostname=a ; expr=cublasCreate(&handle);"
                .to_owned(),
            "CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED ; GPU=0 ; hostname=a ; expr=cudnnCreate(&handle);"
                .to_owned(),
        ];
        for text in texts {
            assert_eq!(of(&text), Trouble::OutOfMemory, "{text}");
        }
    }

    #[test]
    fn a_device_that_failed_is_told_by_library_and_number() {
        let texts = [
            (
                "CUDA failure 719: unspecified launch failure ; GPU=0",
                "CUDA",
                719,
            ),
            (
                "CUDA failure 700: an illegal memory access was encountered ; GPU=1",
                "CUDA",
                700,
            ),
            (
                "CUDA failure 214: uncorrectable ECC error encountered ; GPU=0",
                "CUDA",
                214,
            ),
            (
                "CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED ; GPU=0",
                "CUBLAS",
                13,
            ),
            (
                "CUDNN failure 5000: CUDNN_STATUS_EXECUTION_FAILED ; GPU=0",
                "CUDNN",
                5000,
            ),
            // As ONNX Runtime 1.31.1 wrote it on a machine without a driver.
            (
                "provider_options_utils.h:187 Parse Failed to parse provider option \"device_id\": CUDA failure 35: \
                 CUDA driver version is insufficient for CUDA runtime version ; GPU=-1 ; hostname=a ; \
                 file=cuda_execution_provider_info.cc ; line=70 ; expr=cudaGetDeviceCount(&num_devices); ",
                "CUDA",
                35,
            ),
        ];
        for (text, library, number) in texts {
            assert_eq!(of(text), device(library, number), "{text}");
        }
        let reset = Trouble::of(ErrorCode::DeviceReset, "anything");
        assert_eq!(reset, Trouble::Device(Failed(None)));
        assert_eq!(Failed(None).to_string(), "the device was reset");
        assert_eq!(Failed(Some(("CUDA", 719))).to_string(), "CUDA failure 719");
    }

    #[test]
    fn a_value_that_the_model_refuses_is_neither() {
        let texts = [
            "Non-zero status code returned while running Cast node. Name:'a' Status Message: cannot cast \"12a\"",
            "Failed to allocate memory for requested buffer of size 12, says the payload",
            "CUDA failure : the payload says so",
            "Status Message: cannot cast \"CUDA failure 719: x\"",
            "",
        ];
        for text in texts {
            assert_eq!(of(text), Trouble::Other, "{text}");
        }
    }
}
