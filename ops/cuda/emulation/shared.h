// Shared memory of a block, with a detector of races, accesses beyond the end, and reads of what was never written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

namespace emulation {

// Which accesses are ordered: those of one thread; those with a barrier of the block in between; and those of two
// lanes of a warp with a barrier of the warp in between. Shuffles and ballots order nothing, as in CUDA.
struct Moment {
    int thread;
    // Barriers passed, from 1.
    std::uint32_t block_barriers;
    std::uint32_t warp_barriers;
};

enum class Access { Read, Write, Atomic };

class SharedMemory {
public:
    SharedMemory(std::string name, std::size_t bytes);

    const std::string& name() const { return name_; }
    std::size_t bytes() const { return bytes_.size(); }

    // Checks and records an access by the running thread, and returns the address.
    unsigned char* access(std::ptrdiff_t offset, std::size_t bytes, Access access);

private:
    struct Word {
        Moment writer{-1, 0, 0};
        // Whether `writer` made an atomic operation: those do not race with each other.
        bool atomic = false;
        // The reader that was last in its warp, at the highest count of barriers at which the word was read.
        Moment reader{-1, 0, 0};
        // Another lane that read it at the same moment as `reader`, or -1.
        int second = -1;
        // A thread of another warp that read it between the same barriers of the block as `reader`, or -1.
        int foreign = -1;
    };

    void check_read(const Word& word, std::ptrdiff_t offset, const Moment& now) const;
    void check_write(const Word& word, std::ptrdiff_t offset, const Moment& now, bool atomic) const;
    [[noreturn]] void uninitialized(std::ptrdiff_t offset) const;
    static void record_read(Word& word, const Moment& now);
    [[noreturn]] void race(std::ptrdiff_t offset, const char* now, const char* before, int other) const;

    std::string name_;
    // Of the exact size, so that an address sanitizer sees accesses beyond the end as well.
    std::vector<unsigned char> bytes_;
    std::vector<Word> words_;
};

[[noreturn]] void beyond(const SharedMemory& memory, std::ptrdiff_t first, std::ptrdiff_t count, std::ptrdiff_t size);

// An element of shared memory.
template <class T>
class Element {
public:
    Element(SharedMemory* memory, std::ptrdiff_t offset) : memory_(memory), offset_(offset) {}
    Element(const Element&) = default;

    operator T() const {
        T value;
        std::memcpy(&value, memory_->access(offset_, sizeof(T), Access::Read), sizeof(T));
        return value;
    }
    T operator=(T value) const {
        std::memcpy(memory_->access(offset_, sizeof(T), Access::Write), &value, sizeof(T));
        return value;
    }
    T operator=(const Element& other) const { return *this = static_cast<T>(other); }
    T operator+=(T value) const { return *this = static_cast<T>(*this) + value; }
    T operator-=(T value) const { return *this = static_cast<T>(*this) - value; }
    T operator*=(T value) const { return *this = static_cast<T>(*this) * value; }

private:
    SharedMemory* memory_;
    std::ptrdiff_t offset_;
};

// Takes the part of a pointer to `count` elements of shared memory.
template <class T>
class Shared {
    static_assert(sizeof(T) % 4 == 0 && std::is_trivially_copyable<T>::value, "races are recorded for words of 4 bytes");

public:
    Shared(SharedMemory* memory, std::ptrdiff_t first, std::ptrdiff_t count)
        : memory_(memory), first_(first), count_(count) {}

    Element<T> operator[](std::ptrdiff_t index) const {
        check(index, 1);
        return {memory_, (first_ + index) * static_cast<std::ptrdiff_t>(sizeof(T))};
    }

    // `count` elements from `offset` on.
    Shared slice(std::ptrdiff_t offset, std::ptrdiff_t count) const {
        check(offset, count);
        return Shared(memory_, first_ + offset, count);
    }

    // An atomic operation, which no other one can interrupt: fibres change only at collectives.
    template <class Operation>
    T atomic(std::ptrdiff_t index, Operation operation) const {
        check(index, 1);
        const std::ptrdiff_t offset = (first_ + index) * static_cast<std::ptrdiff_t>(sizeof(T));
        unsigned char* address = memory_->access(offset, sizeof(T), Access::Atomic);
        T before;
        std::memcpy(&before, address, sizeof(T));
        const T after = operation(before);
        std::memcpy(address, &after, sizeof(T));
        return before;
    }

private:
    void check(std::ptrdiff_t first, std::ptrdiff_t count) const {
        if (first < 0 || count < 0 || first + count > count_) {
            beyond(*memory_, first, count, count_);
        }
    }

    SharedMemory* memory_;
    // In elements.
    std::ptrdiff_t first_;
    std::ptrdiff_t count_;
};

}  // namespace emulation
