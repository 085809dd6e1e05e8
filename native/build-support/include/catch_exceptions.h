// What all functions that Rust calls have in common: no C++ exception may leave them, since unwinding into Rust is
// undefined. Functions that cannot fail are `noexcept`; all others run in `catch_exceptions`.

#pragma once

#include <cstdlib>
#include <cstring>
#include <exception>

namespace topk {

// A copy for the caller to free. Never null, which means success: without memory for a message, the program ends, as it
// does where Rust's own allocations fail.
inline char *message(const char *text) noexcept {
  char *copy = strdup(text);
  if (copy == nullptr) {
    std::abort();
  }
  return copy;
}

// Runs a function and catches its exceptions; returns null, or a message that the caller frees.
template <typename F> char *catch_exceptions(F run) noexcept {
  try {
    run();
    return nullptr;
  } catch (const std::exception &exception) {
    return message(exception.what());
  } catch (...) {
    return message("an exception that is not a std::exception");
  }
}

} // namespace topk
