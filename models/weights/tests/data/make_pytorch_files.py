"""Writes the files of this folder with PyTorch: `python make_pytorch_files.py`, in this folder.

Made with PyTorch 2.11. expected.json has the contents that must be read from each .pth, with tensors as
[dtype, shape, values]. PyTorch reads each file too.
"""

import argparse
import io
import json
import pathlib
import pickle
import struct
from collections import OrderedDict

import torch
from torch import nn

torch.manual_seed(0)


def network():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def trained():
    """A network and an optimizer with momentum, after one step."""
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.randn(4, 1, 4, 4)).sum().backward()
    optimizer.step()
    return net, optimizer


def every_type():
    values = torch.arange(-3, 4)
    types = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
             torch.int16, torch.int8, torch.bool]
    tensors = {str(t).removeprefix("torch."): (values / 2).to(t) for t in types}
    return tensors | {"uint8": torch.arange(250, 256, dtype=torch.uint8)}


def views():
    base = torch.arange(24, dtype=torch.float32)
    cube = base.view(2, 3, 4)
    return OrderedDict(
        base=base,
        offset=base[5:9],
        transposed=cube.transpose(0, 2),
        strided=base[1::5],
        column=cube[:, 1, 2],
        expanded=torch.tensor([7.0]).expand(2, 3),
        scalar=torch.tensor(3.5),
        empty=torch.zeros(0, 4),
        one=torch.ones(1, 1, 1),
    )


def seed_checkpoint():
    net, optimizer = trained()
    model = OrderedDict(("module." + name, value) for name, value in net.state_dict().items())
    return {"epoch": 7, "model": model, "model_repr": "DataParallel(%r)" % net,
            "opt": optimizer.state_dict()}


def references_checkpoint():
    """A checkpoint like those of torchvision's references and of PyTorch's ImageNet example."""
    net, optimizer = trained()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    args = argparse.Namespace(
        lr=0.1, device=torch.device("cpu"), output=pathlib.PurePosixPath("/tmp"), sizes={1, 2}, z=1 + 2j,
        raw=b"ab", array=bytearray(b"abc"), size=torch.Size([1, 2]), huge=2**80, path="a\udc80",
        complex=torch.ones(2, dtype=torch.complex64).conj(), sparse=torch.eye(2).to_sparse(),
        parameter=nn.Parameter(torch.ones(2)), dtype=torch.float16)
    ema = torch.optim.swa_utils.AveragedModel(net)
    return {"best_acc1": torch.tensor(71.5), "model_ema": ema.state_dict(), "model": net.state_dict(),
            "lr_scheduler": scheduler.state_dict(), "optimizer": optimizer.state_dict(), "args": args,
            "epoch": 3}


class Python2Pickler(pickle._Pickler):
    """Writes strings as Python 2 does, and tensors as PyTorch 0.2 did."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_str(self, text):
        data = text.encode("latin1")
        if len(data) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(data)]) + data)
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(text)

    dispatch[str] = save_str

    def save_ordered_dict(self, ordered):
        self.save_reduce(OrderedDict, ([[key, value] for key, value in ordered.items()],),
                         obj=ordered)

    dispatch[OrderedDict] = save_ordered_dict

    def reducer_override(self, obj):
        if isinstance(obj, torch.Tensor):
            arguments = (Storage(obj), obj.storage_offset(), tuple(obj.size()), obj.stride())
            return torch._utils._rebuild_tensor, arguments
        return NotImplemented

    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            self.storages[obj.key] = obj.tensor
            return ("storage", torch.FloatStorage, obj.key, "cuda:0",
                    obj.tensor.untyped_storage().nbytes() // 4, None)
        return None


class Storage:
    def __init__(self, tensor):
        self.tensor = tensor
        self.key = str(tensor.untyped_storage().data_ptr())


def python2(obj):
    """A file as PyTorch 0.2 wrote it under Python 2."""
    file = io.BytesIO()
    pickle.dump(torch.serialization.MAGIC_NUMBER, file, protocol=2)
    pickle.dump(torch.serialization.PROTOCOL_VERSION, file, protocol=2)
    machine = {"protocol_version": 1001, "little_endian": True,
               "type_sizes": {"short": 2, "int": 4, "long": 8}}
    pickle.dump(machine, file, protocol=2)
    pickler = Python2Pickler(file, protocol=2)
    pickler.storages = {}
    pickler.dump(obj)
    keys = sorted(pickler.storages)
    Python2Pickler(file, protocol=2).dump(keys)
    for key in keys:
        storage = pickler.storages[key].untyped_storage()
        file.write(struct.pack("<q", storage.nbytes() // 4) + bytes(storage))
    return file.getvalue()


def values(tensor):
    plain = tensor.detach().to(torch.float64) if tensor.is_floating_point() else tensor.to(torch.int64)
    return [str(tensor.dtype).removeprefix("torch."), list(tensor.shape),
            plain.flatten().tolist()]


def main():
    net, _ = trained()
    state = net.state_dict()
    parameters = OrderedDict(net.named_parameters())
    half = OrderedDict((name, value.half()) for name, value in state.items())
    nested = {"epoch": 3, "best": 0.75, "args": {"lr": 0.1},
              "state_dict": {"model": OrderedDict(("_orig_mod.module." + name, value)
                                                  for name, value in state.items()),
                             "step": 12, "ema": half}}
    shared = {"encoder.weight": state["0.weight"], "decoder.weight": state["0.weight"]}
    old = OrderedDict((name, value) for name, value in state.items()
                      if value.dtype == torch.float32)
    files = {
        "state_dict": (state, state, {}),
        "every_type": (every_type(), every_type(), {}),
        "views": (views(), views(), {}),
        "parameters": (parameters, parameters, {}),
        "nested": (nested, state, {"epoch": 3, "best": 0.75, "step": 12}),
        "shared": (shared, shared, {}),
    }
    seed = seed_checkpoint()
    seed_tensors = {name.removeprefix("module."): value for name, value in seed["model"].items()}
    seed_plain = {"epoch": 7, "model_repr": seed["model_repr"]}
    files["seed"] = (seed, seed_tensors, seed_plain)

    references = references_checkpoint()
    files["references"] = (references, references["model"], {"epoch": 3})

    expected = {}
    for name, (obj, tensors, plain) in files.items():
        tensors = {key: values(value) for key, value in tensors.items()}
        torch.save(obj, name + ".pth")
        torch.save(obj, name + "_legacy.pth", _use_new_zipfile_serialization=False)
        expected[name] = expected[name + "_legacy"] = {"tensors": tensors, "metadata": plain}
    torch.save(state, "protocol4.pth", pickle_protocol=4)
    expected["protocol4"] = expected["state_dict"]
    with open("python2.pth", "wb") as file:
        file.write(python2({"epoch": 7, "name": "caf\u00e9", "model": old}))
    expected["python2"] = {"tensors": {key: values(value) for key, value in old.items()},
                           "metadata": {"epoch": 7, "name": "caf\u00e9"}}

    for name, entry in expected.items():
        torch.load(name + ".pth", weights_only=False, encoding="latin1", map_location="cpu")
    with open("expected.json", "w") as file:
        json.dump(expected, file, indent=None, separators=(",", ":"))
        file.write("\n")


main()
