//! timm's `pretrained_cfg`, as `resolve_data_config` and `create_transform` of timm 1.0 read it.

use topk_preprocessing::{CropMode, Geometry, Interpolation, Normalization, Preset};

use super::config::{ConfigFile, Section, side};
use super::error::PresetError;

/// The part of a file with timm's configuration, if it is one: `pretrained_cfg`, or the whole file in the form of older
/// versions.
pub(super) fn section(file: &ConfigFile) -> Option<Section<'_>> {
    let root = file.root();
    let old = || root.has("architecture") && root.has("input_size");
    file.section("pretrained_cfg")
        .or_else(|| old().then_some(root))
}

/// The preset of a configuration. As in timm's `validate.py`, `test_input_size` and `test_crop_pct` come before
/// `input_size` and `crop_pct`; models whose input has `input_size` get `crop_pct`.
pub(super) fn preset(cfg: &Section<'_>) -> Result<Preset, PresetError> {
    let input_size = size(cfg, "input_size")?;
    let test_size = size(cfg, "test_input_size")?;
    let crop_pct = cfg.positive("crop_pct")?;
    let test_crop_pct = cfg.positive("test_crop_pct")?;
    let usual = crop_pct.unwrap_or(0.875);
    let at = input_size.filter(|_| test_size.is_some_and(|size| Some(size) != input_size));
    let normalization = |key, default: [f32; 3]| -> Result<[f32; 3], PresetError> {
        let values = cfg.channels(key)?;
        Ok(values.map_or(default, |values| values.map(|value| value as f32)))
    };
    let Normalization { mean, std } = Normalization::IMAGENET;
    let normalization = Normalization {
        mean: normalization("mean", mean)?,
        std: normalization("std", std)?,
    };
    let out_of_range = |value: &f32| !(0.0..=1.0).contains(value);
    if normalization.mean.iter().any(out_of_range) {
        return Err(cfg.unexpected("mean", "numbers from 0 to 1"));
    }
    if normalization.check().is_err() {
        return Err(cfg.unexpected("std", "numbers above 0"));
    }
    Ok(Preset {
        input_size: test_size.or(input_size),
        geometry: Geometry::Timm {
            crop_pct: test_crop_pct.unwrap_or(usual),
            crop_mode: crop_mode(cfg)?,
            at: at.map(|size| (size, usual)),
        },
        interpolation: match cfg.text("interpolation")? {
            None => Interpolation::Bicubic,
            Some(name) => Interpolation::from_name(name).ok_or_else(|| {
                let names = Interpolation::ALL.map(Interpolation::name).join(", ");
                cfg.unexpected("interpolation", &names)
            })?,
        },
        normalization,
        ..Preset::TIMM
    })
}

fn crop_mode(cfg: &Section<'_>) -> Result<CropMode, PresetError> {
    Ok(match cfg.text("crop_mode")? {
        None | Some("center") => CropMode::Center,
        Some("squash") => CropMode::Squash,
        Some("border") => CropMode::Border,
        Some(_) => return Err(cfg.unexpected("crop_mode", "center, squash or border")),
    })
}

/// Width and height from `[3, height, width]`, or `[1, height, width]` of networks for grey images.
fn size(cfg: &Section<'_>, key: &str) -> Result<Option<[u32; 2]>, PresetError> {
    let Some(value) = cfg.get(key) else {
        return Ok(None);
    };
    let sides: Option<Vec<u32>> = value
        .as_array()
        .and_then(|values| values.iter().map(side).collect());
    match sides.as_deref() {
        Some(&[1 | 3, height, width]) => Ok(Some([width, height])),
        Some(&[channels, _, _]) => {
            let reason =
                format!("has {channels} channels, but images have 3, or 1 if they are grey");
            Err(cfg.error(key, reason))
        }
        _ => Err(cfg.unexpected(key, "[3, height, width]")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    #[test]
    fn missing_settings_have_the_defaults_of_timm() {
        assert_eq!(read(r#"{"pretrained_cfg": {}}"#), Ok(Preset::TIMM));
        let nulls =
            r#"{"pretrained_cfg": {"crop_pct": null, "mean": null, "test_input_size": null}}"#;
        assert_eq!(read(nulls), Ok(Preset::TIMM));
    }

    #[test]
    fn test_sizes_come_first() {
        let cfg = r#""input_size": [3, 224, 256], "crop_pct": 0.95"#;
        let found = read(&format!(r#"{{"pretrained_cfg": {{{cfg}}}}}"#)).unwrap();
        assert_eq!(found.input_size, Some([256, 224]));
        let timm = |crop_pct, at| Geometry::Timm {
            crop_pct,
            crop_mode: CropMode::Center,
            at,
        };
        assert_eq!(found.geometry, timm(0.95, None));
        let test = r#""test_input_size": [3, 288, 288], "test_crop_pct": 1.0"#;
        // The form of older versions.
        let found = read(&format!(r#"{{"architecture": "resnet50", {cfg}, {test}}}"#)).unwrap();
        assert_eq!(found.input_size, Some([288, 288]));
        assert_eq!(found.geometry, timm(1.0, Some(([256, 224], 0.95))));
    }

    #[test]
    fn errors_name_the_key() {
        for (cfg, expected) in [
            (
                r#""input_size": [4, 28, 28]"#,
                "`input_size` has 4 channels, but images have 3, or 1 if they are grey",
            ),
            (
                r#""input_size": 224"#,
                "`input_size` is 224, expected [3, height, width]",
            ),
            (
                r#""crop_pct": 0"#,
                "`crop_pct` is 0, expected a number above 0",
            ),
            (
                r#""crop_mode": "corner""#,
                r#"`crop_mode` is "corner", expected center, squash or border"#,
            ),
            (
                r#""interpolation": "random""#,
                r#"`interpolation` is "random", expected nearest, box, bilinear, hamming, bicubic, lanczos"#,
            ),
            (
                r#""mean": [0.5, 0.5]"#,
                "`mean` is [0.5,0.5], expected three numbers",
            ),
            (
                r#""mean": [124, 116, 104]"#,
                "`mean` is [124,116,104], expected numbers from 0 to 1",
            ),
            (
                r#""std": [0, 1, 1]"#,
                "`std` is [0,1,1], expected numbers above 0",
            ),
        ] {
            let error = read(&format!(r#"{{"pretrained_cfg": {{{cfg}}}}}"#)).unwrap_err();
            assert_eq!(error, expected);
        }
    }
}
