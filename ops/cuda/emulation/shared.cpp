#include "shared.h"

#include "launch.h"

namespace emulation {
namespace {

constexpr std::size_t WORD = 4;

bool same_warp(int a, int b) {
    return a / WARP == b / WARP;
}

// Whether a barrier orders an earlier access of `before.thread`, another thread, and one of the running thread.
bool ordered(const Moment& before, const Moment& now) {
    return before.block_barriers != now.block_barriers ||
           (same_warp(before.thread, now.thread) && before.warp_barriers != now.warp_barriers);
}

}  // namespace

SharedMemory::SharedMemory(std::string name, std::size_t bytes)
    : name_(std::move(name)), bytes_(bytes, 0xff), words_((bytes + WORD - 1) / WORD) {}

unsigned char* SharedMemory::access(std::ptrdiff_t offset, std::size_t bytes, Access access) {
    const Moment now = moment();
    const auto size = static_cast<std::ptrdiff_t>(bytes);
    if (offset < 0 || offset + size > static_cast<std::ptrdiff_t>(bytes_.size())) {
        fail("uses bytes " + std::to_string(offset) + " to " + std::to_string(offset + size - 1) +
             " of the shared memory `" + name_ + "`, which has " + std::to_string(bytes_.size()) + " bytes");
    }
    const auto first = static_cast<std::size_t>(offset) / WORD;
    for (std::size_t i = first; i < first + bytes / WORD; ++i) {
        Word& word = words_[i];
        if (access == Access::Read) {
            check_read(word, offset, now);
            record_read(word, now);
            continue;
        }
        const bool atomic = access == Access::Atomic;
        if (atomic && word.writer.thread < 0) {
            uninitialized(offset);
        }
        check_write(word, offset, now, atomic);
        word.writer = now;
        word.atomic = atomic;
    }
    return bytes_.data() + offset;
}

void SharedMemory::check_read(const Word& word, std::ptrdiff_t offset, const Moment& now) const {
    if (word.writer.thread < 0) {
        uninitialized(offset);
    }
    if (word.writer.thread != now.thread && !ordered(word.writer, now)) {
        race(offset, "reads", "wrote", word.writer.thread);
    }
}

void SharedMemory::record_read(Word& word, const Moment& now) {
    if (word.reader.thread < 0 || word.reader.block_barriers != now.block_barriers) {
        word.reader = now;
        word.second = word.foreign = -1;
    } else if (!same_warp(word.reader.thread, now.thread)) {
        word.foreign = now.thread;
    } else if (word.reader.warp_barriers != now.warp_barriers) {
        word.reader = now;
        word.second = -1;
    } else if (word.reader.thread != now.thread) {
        word.second = now.thread;
    }
}

void SharedMemory::check_write(const Word& word, std::ptrdiff_t offset, const Moment& now, bool atomic) const {
    const bool both_atomic = atomic && word.atomic;
    if (word.writer.thread >= 0 && word.writer.thread != now.thread && !both_atomic && !ordered(word.writer, now)) {
        race(offset, "writes", "wrote", word.writer.thread);
    }
    const Moment& reader = word.reader;
    if (reader.thread < 0 || reader.block_barriers != now.block_barriers) {
        return;
    }
    if (!same_warp(reader.thread, now.thread)) {
        race(offset, "writes", "read", reader.thread);
    }
    if (word.foreign >= 0) {
        race(offset, "writes", "read", word.foreign);
    }
    if (reader.warp_barriers == now.warp_barriers) {
        if (reader.thread != now.thread) {
            race(offset, "writes", "read", reader.thread);
        }
        if (word.second >= 0) {
            race(offset, "writes", "read", word.second);
        }
    }
}

void SharedMemory::uninitialized(std::ptrdiff_t offset) const {
    fail("reads byte " + std::to_string(offset) + " of the shared memory `" + name_ +
         "`, which no thread of the block has written yet");
}

void SharedMemory::race(std::ptrdiff_t offset, const char* now, const char* before, int other) const {
    fail(std::string(now) + " byte " + std::to_string(offset) + " of the shared memory `" + name_ + "`, which thread " +
         std::to_string(other) + " " + before + " without a barrier in between");
}

void beyond(const SharedMemory& memory, std::ptrdiff_t first, std::ptrdiff_t count, std::ptrdiff_t size) {
    fail("uses elements " + std::to_string(first) + " to " + std::to_string(first + count - 1) +
         " of the shared memory `" + memory.name() + "`, which has " + std::to_string(size));
}

}  // namespace emulation
