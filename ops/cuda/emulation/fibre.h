// Fibres: functions with stacks of their own that run in turns on one thread of the operating system.
#pragma once

#include <cstddef>
#include <vector>

namespace emulation {

// The fibres of a block. Only one `Fibres` may run at a time.
class Fibres {
public:
    explicit Fibres(std::size_t count);
    ~Fibres();
    std::size_t count() const { return fibres_.size(); }
    Fibres(const Fibres&) = delete;
    Fibres& operator=(const Fibres&) = delete;

    // Prepares a fibre to call `function(argument)`. The fibre must not be in the middle of a call, except after
    // `abandon`.
    void prepare(std::size_t fibre, void (*function)(void*), void* argument);

    // Runs a fibre until it calls `pause` or its function returns.
    void resume(std::size_t fibre);

    // Called in a fibre: returns to the caller of `resume`.
    void pause();

    // Drops all calls that have not returned. Their destructors do not run.
    void abandon();

private:
    struct Fibre {
        void* stack_pointer = nullptr;
        void* sanitizer = nullptr;
        void (*function)(void*) = nullptr;
        void* argument = nullptr;
        // Whether the function has been prepared and has not returned.
        bool active = false;
    };

    static void enter();
    unsigned char* stack(std::size_t fibre) const;

    unsigned char* memory_;
    std::size_t stride_;
    std::vector<Fibre> fibres_;
    std::size_t current_ = 0;
    void* main_stack_pointer_ = nullptr;
    void* main_sanitizer_ = nullptr;
    const void* main_bottom_ = nullptr;
    std::size_t main_size_ = 0;
};

}  // namespace emulation
