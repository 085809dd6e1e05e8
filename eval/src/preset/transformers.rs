//! The image processors of transformers, as their `preprocessor_config.json` configures them.
//!
//! Pixels are those of their `pil` backend. Settings that a file lacks have the defaults of the processor's class in
//! transformers 5, unless they changed between versions.

use topk_preprocessing::{
    ChannelOrder, Crop, Geometry, Halves, Interpolation, Normalization, PixelRange, Preset, Resize,
};

use super::config::{ConfigFile, Section, side};
use super::error::PresetError;

/// An image processor, and its defaults.
#[derive(Clone, Copy)]
pub(super) struct Family {
    /// Name of the class without `ImageProcessor`.
    name: &'static str,
    kind: Kind,
    /// The default of `size`; a number in a file is of the same kind.
    size: Size,
    /// The default of `crop_size`.
    crop: u32,
    /// The default of `do_center_crop`.
    crops: bool,
    /// The default of `resample`; none if it changed between versions.
    resample: Option<Interpolation>,
    normalization: Normalization,
}

/// What a processor does besides resizing, cropping and normalizing.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    Plain,
    /// Below 384 pixels the image is resized to `size` / `crop_pct` and cropped, from there on it is squashed.
    ConvNext,
    /// The shorter side is resized to 256 / 224 × `size`.
    Levit,
    /// The shorter side is resized to `size` / `crop_pct`.
    PoolFormer,
    /// `rescale_offset`, and with `include_top` a second division by the standard deviation.
    EfficientNet,
    /// `do_flip_channel_order`, and no normalization by default.
    MobileVit,
}

/// `size` of a configuration.
#[derive(Clone, Copy)]
enum Size {
    /// `height` and `width`, here as width and height.
    Exact([u32; 2]),
    /// `shortest_edge`.
    Shortest(u32),
}

const HALF: Normalization = Normalization {
    mean: [0.5; 3],
    std: [0.5; 3],
};

const PLAIN: Family = Family {
    name: "ViT",
    kind: Kind::Plain,
    size: Size::Exact([224; 2]),
    crop: 224,
    crops: false,
    resample: Some(Interpolation::Bilinear),
    normalization: HALF,
};

const CROPPED: Family = Family {
    size: Size::Shortest(224),
    crops: true,
    resample: Some(Interpolation::Bicubic),
    normalization: Normalization::CLIP,
    ..PLAIN
};

const MOBILENET: Family = Family {
    size: Size::Shortest(256),
    resample: Some(Interpolation::Bilinear),
    normalization: HALF,
    ..CROPPED
};

const FAMILIES: [Family; 14] = [
    PLAIN,
    Family {
        name: "CLIP",
        ..CROPPED
    },
    Family {
        name: "Bit",
        ..CROPPED
    },
    Family {
        name: "DeiT",
        size: Size::Exact([256; 2]),
        crops: true,
        resample: Some(Interpolation::Bicubic),
        ..PLAIN
    },
    Family {
        name: "Beit",
        resample: Some(Interpolation::Bicubic),
        ..PLAIN
    },
    Family {
        name: "ConvNext",
        kind: Kind::ConvNext,
        size: Size::Shortest(384),
        resample: None,
        ..PLAIN
    },
    Family {
        name: "EfficientNet",
        kind: Kind::EfficientNet,
        size: Size::Exact([346; 2]),
        crop: 289,
        resample: None,
        ..PLAIN
    },
    Family {
        name: "Levit",
        kind: Kind::Levit,
        normalization: Normalization::IMAGENET,
        ..CROPPED
    },
    Family {
        name: "MobileNetV1",
        ..MOBILENET
    },
    Family {
        name: "MobileNetV2",
        ..MOBILENET
    },
    Family {
        name: "MobileViT",
        kind: Kind::MobileVit,
        crop: 256,
        resample: None,
        normalization: HALF,
        ..CROPPED
    },
    Family {
        name: "PoolFormer",
        kind: Kind::PoolFormer,
        normalization: Normalization::IMAGENET,
        ..CROPPED
    },
    Family {
        name: "Pvt",
        resample: None,
        normalization: Normalization::IMAGENET,
        ..PLAIN
    },
    Family {
        name: "Siglip",
        resample: Some(Interpolation::Bicubic),
        ..PLAIN
    },
];

/// Keys with the class of the processor, in the order of their age.
const TYPES: [&str; 2] = ["image_processor_type", "feature_extractor_type"];

/// Flags that are handled, or do not change the pixels.
const FLAGS: [&str; 9] = [
    "do_resize",
    "do_center_crop",
    "do_rescale",
    "do_normalize",
    "do_convert_rgb",
    "do_flip_channel_order",
    "do_reduce_labels",
    // Older names in some published files, which transformers does not read any more.
    "do_flip_channels",
    "do_resize_crop_pct",
];

/// The image processor of a file; none if it is not one of an image processor.
///
/// # Errors
/// If the processor is not known, or is not named.
pub(super) fn family(file: &ConfigFile) -> Result<Option<Family>, PresetError> {
    let root = file.root();
    let Some(key) = TYPES.into_iter().find(|key| root.has(key)) else {
        let is_processor = root.has("image_mean") || root.has("do_normalize");
        return match is_processor {
            true => Err(root.error(
                TYPES[0],
                "is missing: the settings mean different things for different image processors. Add it, such as \
                 \"ViTImageProcessor\"",
            )),
            false => Ok(None),
        };
    };
    let class = root.text(key)?.unwrap_or_default();
    let class = ["Fast", "Pil"]
        .into_iter()
        .find_map(|backend| class.strip_suffix(backend))
        .unwrap_or(class);
    let name = ["ImageProcessor", "FeatureExtractor"]
        .into_iter()
        .find_map(|suffix| class.strip_suffix(suffix));
    let family = FAMILIES
        .into_iter()
        .find(|family| Some(family.name) == name);
    family.map(Some).ok_or_else(|| {
        let names = FAMILIES.map(|family| family.name).join(", ");
        root.unexpected(
            key,
            &format!("the image processor of one of {names}; pass the settings with flags such as --resize and --mean"),
        )
    })
}

/// The preset of a configuration.
pub(super) fn preset(config: &Section<'_>, family: &Family) -> Result<Preset, PresetError> {
    for key in config.keys().filter(|key| key.starts_with("do_")) {
        if !FLAGS.contains(&key) && config.flag(key)? == Some(true) {
            return Err(config.error(key, "is true, which cannot be reproduced"));
        }
    }
    let (input_size, resize, crop) = geometry(config, family)?;
    let (normalization, pixel_range) = normalization(config, family)?;
    let default = family.kind == Kind::MobileVit;
    let flips = config.flag("do_flip_channel_order")?.unwrap_or(default);
    Ok(Preset {
        input_size,
        geometry: Geometry::Fixed { resize, crop },
        interpolation: match resize {
            Resize::None => Interpolation::Bilinear,
            _ => interpolation(config, family)?,
        },
        normalization,
        channel_order: match flips {
            true => ChannelOrder::Bgr,
            false => ChannelOrder::Rgb,
        },
        pixel_range,
    })
}

/// Width and height of the result, the resizing and the crop.
fn geometry(
    config: &Section<'_>,
    family: &Family,
) -> Result<(Option<[u32; 2]>, Resize, Crop), PresetError> {
    let centre = |size| Crop::Center {
        size,
        fill: [0; 3],
        halves: Halves::Down,
    };
    let resizes = config.flag("do_resize")?.unwrap_or(true);
    let crops = config.flag("do_center_crop")?.unwrap_or(family.crops);
    let size = size(config, family)?;
    let scaled = |side: u32, crop_pct: f64| (f64::from(side) / crop_pct) as u32;
    if family.kind == Kind::ConvNext && resizes {
        let Size::Shortest(side) = size else {
            return Err(config.unexpected("size", "shortest_edge"));
        };
        if crops {
            return Err(config.error(
                "do_center_crop",
                "is true, which cannot be reproduced beside crop_pct",
            ));
        }
        let crop_pct = config.positive("crop_pct")?.unwrap_or(224.0 / 256.0);
        let size = [side; 2];
        return Ok(match side {
            ..384 => (
                Some(size),
                Resize::ShorterSide(scaled(side, crop_pct)),
                centre(size),
            ),
            384.. => (Some(size), Resize::Exact(size), Crop::None),
        });
    }
    let resize = match (resizes, family.kind, size) {
        (false, ..) => Resize::None,
        (true, Kind::Levit, Size::Shortest(side)) => {
            Resize::ShorterSide((256.0 / 224.0 * f64::from(side)) as u32)
        }
        (true, Kind::PoolFormer, size) => {
            let crop_pct = config.positive("crop_pct")?.unwrap_or(0.9);
            match size {
                Size::Shortest(side) => Resize::ShorterSide(scaled(side, crop_pct)),
                Size::Exact([width, height]) if width == height => {
                    Resize::ShorterSide(scaled(width, crop_pct))
                }
                Size::Exact(size) => Resize::Exact(size.map(|side| scaled(side, crop_pct))),
            }
        }
        (true, _, Size::Shortest(side)) => Resize::ShorterSide(side),
        (true, _, Size::Exact(size)) => Resize::Exact(size),
    };
    if crops {
        let size = crop_size(config, family)?;
        return Ok((Some(size), resize, centre(size)));
    }
    match resize {
        Resize::Exact(size) => Ok((Some(size), resize, Crop::None)),
        Resize::None => Ok((None, resize, Crop::None)),
        _ => Err(config.error(
            "do_center_crop",
            "is false, so that images have different sizes, but `size` sets only their shorter side",
        )),
    }
}

fn size(config: &Section<'_>, family: &Family) -> Result<Size, PresetError> {
    let Some(value) = config.get("size") else {
        return Ok(family.size);
    };
    if let Some(side) = side(value) {
        return Ok(match family.size {
            Size::Exact(_) => Size::Exact([side; 2]),
            Size::Shortest(_) => Size::Shortest(side),
        });
    }
    // Other sides may be there, as null.
    let sides = value.as_object().map(|sides| {
        let sides = sides.iter().filter(|(_, value)| !value.is_null());
        let mut sides: Vec<_> = sides.map(|(name, value)| (&**name, side(value))).collect();
        sides.sort_unstable();
        sides
    });
    match sides.as_deref() {
        Some(&[("height", Some(height)), ("width", Some(width))]) => {
            Ok(Size::Exact([width, height]))
        }
        Some(&[("shortest_edge", Some(side))]) => Ok(Size::Shortest(side)),
        _ => Err(config.unexpected(
            "size",
            "a number of pixels, height and width, or shortest_edge",
        )),
    }
}

/// Width and height.
fn crop_size(config: &Section<'_>, family: &Family) -> Result<[u32; 2], PresetError> {
    let Some(value) = config.get("crop_size") else {
        return Ok([family.crop; 2]);
    };
    let of = |name: &str| value.get(name).and_then(side);
    let size = side(value)
        .map(|side| [side; 2])
        .or_else(|| Some([of("width")?, of("height")?]));
    size.ok_or_else(|| config.unexpected("crop_size", "a number of pixels, or height and width"))
}

/// The filter of a number of Pillow's `Resampling`.
fn interpolation(config: &Section<'_>, family: &Family) -> Result<Interpolation, PresetError> {
    let Some(value) = config.get("resample") else {
        return family.resample.ok_or_else(|| {
            config.error(
                "resample",
                "is missing, and its default depends on the version of transformers: add it (2 for bilinear, 3 for \
                 bicubic)",
            )
        });
    };
    Ok(match value.as_u64() {
        Some(0) => Interpolation::Nearest,
        Some(1) => Interpolation::Lanczos,
        Some(2) => Interpolation::Bilinear,
        Some(3) => Interpolation::Bicubic,
        Some(4) => Interpolation::Box,
        Some(5) => Interpolation::Hamming,
        _ => return Err(config.unexpected("resample", "a filter of Pillow, from 0 to 5")),
    })
}

/// Mean and standard deviation in units of pixels / 255.
fn normalization(
    config: &Section<'_>,
    family: &Family,
) -> Result<(Normalization, PixelRange), PresetError> {
    let values = |values: [f32; 3]| values.map(f64::from);
    // A pixel p becomes (p × factor + offset − mean) / std, with `include_top` divided by std once more.
    let rescales = config.flag("do_rescale")?.unwrap_or(true);
    let factor = match rescales {
        true => config.positive("rescale_factor")?.unwrap_or(1.0 / 255.0),
        false => 1.0,
    };
    let default = family.kind != Kind::MobileVit;
    let normalizes = config.flag("do_normalize")?.unwrap_or(default);
    let mean = config.channels("image_mean")?;
    let std = config.channels("image_std")?;
    let std = std.unwrap_or(values(family.normalization.std));
    let [mean, once] = match normalizes {
        true => [mean.unwrap_or(values(family.normalization.mean)), std],
        false => [[0.0; 3], [1.0; 3]],
    };
    let mut offset = 0.0;
    let mut all = once;
    if family.kind == Kind::EfficientNet {
        if rescales && config.flag("rescale_offset")?.unwrap_or(false) {
            offset = -1.0;
        }
        if config.flag("include_top")?.unwrap_or(true) {
            all = [0, 1, 2].map(|channel| once[channel] * std[channel]);
        }
    }
    // White before mean and std; rounding in the file must not make 1 something else.
    let white = 255.0 * factor;
    let near = |expected: f64| (white / expected - 1.0).abs() < 1e-6;
    let (white, range) = match (near(1.0), near(255.0)) {
        (true, _) => (1.0, PixelRange::One),
        (_, true) => (255.0, PixelRange::Byte),
        _ => (white, PixelRange::One),
    };
    let scale = match range {
        PixelRange::One => white,
        PixelRange::Byte => 1.0,
    };
    let normalization = Normalization {
        mean: mean.map(|mean| ((mean - offset) / white) as f32),
        std: all.map(|std| (std / scale) as f32),
    };
    match normalization.check() {
        Ok(normalization) => Ok((normalization, range)),
        Err(_) => Err(config.unexpected("image_std", "numbers above 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    #[test]
    fn errors_name_the_key() {
        for (config, expected) in [
            (
                r#""image_processor_type": "ImageGPTImageProcessor""#,
                "`image_processor_type` is \"ImageGPTImageProcessor\", expected ",
            ),
            (
                r#""do_normalize": true"#,
                "`image_processor_type` is missing: ",
            ),
            (
                r#""image_processor_type": "PvtImageProcessorFast""#,
                "`resample` is missing, and its default depends on the version",
            ),
            (
                r#""image_processor_type": "CLIPImageProcessor", "do_center_crop": false"#,
                "`do_center_crop` is false, so that images have different sizes",
            ),
            (
                r#""image_processor_type": "CLIPImageProcessor", "size": {"longest_edge": 224}"#,
                "`size` is {\"longest_edge\":224}, expected a number",
            ),
            (
                r#""image_processor_type": "ViTImageProcessor", "do_pad": true"#,
                "`do_pad` is true, which cannot be reproduced",
            ),
            (
                r#""image_processor_type": "ViTImageProcessor", "resample": 7"#,
                "`resample` is 7, expected a filter of Pillow",
            ),
            (
                r#""image_processor_type": "ViTImageProcessor", "image_std": [0, 1, 1]"#,
                "`image_std` is [0,1,1], expected numbers above 0",
            ),
            (
                r#""image_processor_type": "ViTImageProcessor", "rescale_factor": -1"#,
                "`rescale_factor` is -1, expected a number above 0",
            ),
            (
                r#""image_processor_type": "ConvNextImageProcessor", "resample": 3, "do_center_crop": true"#,
                "`do_center_crop` is true, which cannot be reproduced beside crop_pct",
            ),
        ] {
            let error = read(&format!("{{{config}}}")).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn backends_and_old_names_are_the_same_processor() {
        let names = ["ImageProcessor", "ImageProcessorFast", "ImageProcessorPil"];
        let new = names.map(|name| format!(r#"{{"image_processor_type": "ViT{name}"}}"#));
        let old = r#"{"feature_extractor_type": "ViTFeatureExtractor"}"#.to_owned();
        let expected = read(&new[0]).unwrap();
        for config in new.iter().chain([&old]) {
            assert_eq!(read(config).unwrap(), expected, "{config}");
        }
    }

    #[test]
    fn pixels_that_are_not_rescaled_are_bytes() {
        let config = r#"{"image_processor_type": "ViTImageProcessor", "do_rescale": false, "do_normalize": false}"#;
        let preset = read(config).unwrap();
        assert_eq!(preset.pixel_range, PixelRange::Byte);
        assert_eq!(preset.normalization.mean, [0.0; 3]);
        assert_eq!(preset.normalization.std, [1.0; 3]);
    }
}
