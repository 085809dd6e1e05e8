use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The device that the user requests: `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Device {
    /// The first GPU if it can be used, otherwise the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU with this index; an error if it cannot be used.
    Cuda(usize),
}

/// The devices of several processes or sessions: `all`, or a list such as `0,1`, `cuda:0,cuda:1` or `cpu,cpu`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Devices {
    /// All GPUs.
    All,
    /// These, at least one. A GPU occurs once.
    List(Vec<Device>),
}

/// The text is not a list of devices.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ParseDevicesError {
    /// An item of the list is not a device.
    #[error("`{0}` is not a device: expected all, or a list such as 0,1 (GPUs) or cpu,cpu")]
    Device(String),
    /// A GPU occurs twice.
    #[error("the GPU {0} occurs more than once: list each GPU once")]
    Twice(usize),
}

impl FromStr for Devices {
    type Err = ParseDevicesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" {
            return Ok(Self::All);
        }
        let mut devices = Vec::new();
        for name in text.split(',').map(str::trim) {
            let device = match name.parse() {
                Ok(index) => Device::Cuda(index),
                Err(_) => match name.parse() {
                    // Which one it is would depend on the machine.
                    Ok(Device::Auto) | Err(_) => {
                        return Err(ParseDevicesError::Device(name.to_owned()));
                    }
                    Ok(device) => device,
                },
            };
            if let Device::Cuda(index) = device
                && devices.contains(&device)
            {
                return Err(ParseDevicesError::Twice(index));
            }
            devices.push(device);
        }
        Ok(Self::List(devices))
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::List(devices) => {
                let names: Vec<String> = devices.iter().map(Device::to_string).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

/// The text is not a device.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("`{0}` is not a device: expected auto, cpu, cuda or cuda:N")]
pub struct ParseDeviceError(String);

impl FromStr for Device {
    type Err = ParseDeviceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| ParseDeviceError(text.to_owned())),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_devices_round_trip() {
        let list = |text: &str| text.parse::<Devices>().unwrap().to_string();
        for (text, expected) in [
            ("all", "all"),
            ("0,1", "cuda:0,cuda:1"),
            ("cuda:2, 0", "cuda:2,cuda:0"),
            ("cpu,cpu", "cpu,cpu"),
            ("3", "cuda:3"),
        ] {
            assert_eq!(list(text), expected);
            assert_eq!(list(expected), expected);
        }
        let error = |text: &str| text.parse::<Devices>().unwrap_err();
        assert_eq!(error("0,1,cuda:0"), ParseDevicesError::Twice(0));
        for (text, item) in [("", ""), ("0,", ""), ("0,auto", "auto"), ("-1", "-1")] {
            assert_eq!(error(text), ParseDevicesError::Device(item.to_owned()));
        }
    }

    #[test]
    fn names_round_trip() {
        for name in ["auto", "cpu", "cuda:0", "cuda:3"] {
            assert_eq!(name.parse::<Device>().unwrap().to_string(), name);
        }
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
        for name in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
            assert!(name.parse::<Device>().is_err(), "{name}");
        }
    }
}
