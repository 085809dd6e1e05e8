// C shims around the store through which ranks find each other.

#include <cstdlib>
#include <cstring>

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "c10d.h"

using topk::catch_c10d;

namespace {

std::vector<uint8_t> bytes(const uint8_t *data, size_t length) { return {data, data + length}; }

} // namespace

extern "C" {

// Connects to the store at an address, which this process hosts if `server`. Returns without waiting for other ranks.
char *topk_store_connect(const char *host, uint16_t port, bool server, const char *prefix,
                         int64_t timeout_ms, TopkStore **result) {
  return catch_c10d([=] {
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = server;
    options.waitWorkers = false;
    options.timeout = std::chrono::milliseconds(timeout_ms);
    auto store = c10::make_intrusive<c10d::TCPStore>(host, options);
    *result = new TopkStore{c10::make_intrusive<c10d::PrefixStore>(prefix, store)};
  });
}

void topk_store_free(TopkStore *store) noexcept { delete store; }

char *topk_store_set(TopkStore *store, const char *key, const uint8_t *data, size_t length) {
  return catch_c10d([=] { store->store->set(key, bytes(data, length)); });
}

// Adds to the counter of this key, and returns its new value.
char *topk_store_add(TopkStore *store, const char *key, int64_t number, int64_t *result) {
  return catch_c10d([=] { *result = store->store->add(key, number); });
}

// Sets a key that does not exist; does nothing if it exists.
char *topk_store_set_first(TopkStore *store, const char *key, const uint8_t *data, size_t length) {
  return catch_c10d([=] { store->store->compareSet(key, {}, bytes(data, length)); });
}

char *topk_store_has(TopkStore *store, const char *key, bool *result) {
  return catch_c10d([=] { *result = store->store->check({key}); });
}

// Waits until the key exists; throws at the time-out.
char *topk_store_wait(TopkStore *store, const char *key, int64_t timeout_ms) {
  return catch_c10d([=] { store->store->wait({key}, std::chrono::milliseconds(timeout_ms)); });
}

// The value of a key that exists, in memory that the caller frees.
char *topk_store_get(TopkStore *store, const char *key, uint8_t **data, size_t *length) {
  return catch_c10d([=] {
    const std::vector<uint8_t> value = store->store->get(key);
    // At least one byte, for which `malloc` does not return null if there is memory.
    auto *copy = static_cast<uint8_t *>(std::malloc(value.size() + 1));
    TORCH_CHECK(copy != nullptr, "out of memory");
    if (!value.empty()) {
      std::memcpy(copy, value.data(), value.size());
    }
    *data = copy;
    *length = value.size();
  });
}

}
