// What the shims of this crate share. The Rust declarations of their functions, with the safety contracts, are in the
// modules of lib.rs.

#pragma once

#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "catch_exceptions.h"

namespace topk {

// As `catch_exceptions`, without the C++ backtrace that libtorch appends to the text of its exceptions.
template <typename F> char *catch_c10d(F run) noexcept {
  return catch_exceptions([&] {
    try {
      run();
    } catch (const c10::Error &error) {
      throw std::runtime_error(error.what_without_backtrace());
    }
  });
}

// Waits for a collective. libtorch throws its error here.
inline void finish(const c10::intrusive_ptr<c10d::Work> &work) { work->wait(); }

} // namespace topk

struct TopkStore {
  c10::intrusive_ptr<c10d::Store> store;
};

struct TopkGroup {
  c10::intrusive_ptr<c10d::ProcessGroup> group;
};
