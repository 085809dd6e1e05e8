#include "fibre.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define EMULATION_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMULATION_ASAN 1
#endif
#endif

#ifdef EMULATION_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifdef EMULATION_ASAN
// Calls that are abandoned after a failure do not free their memory.
extern "C" const char* __asan_default_options() {
    return "detect_leaks=0";
}
#endif

#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace emulation {
namespace {

// Generous: the sanitizers put every variable of every inlined function into its own place on the stack.
constexpr std::size_t STACK = 256 * 1024;

// The object whose fibre is entered for the first time: a new stack has no arguments.
Fibres* entering = nullptr;

}  // namespace

#ifdef __x86_64__

// `swapcontext` makes a system call at every switch, and a block of 512 threads switches 512 times per collective.
extern "C" void topk_emulation_switch(void** from, void* to);
asm(R"(
.text
.globl topk_emulation_switch
.type topk_emulation_switch, @function
topk_emulation_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size topk_emulation_switch, .-topk_emulation_switch
)");

static void switch_stack(void** from, void* to) {
    topk_emulation_switch(from, to);
}

// A stack as `topk_emulation_switch` leaves it, with `function` as return address.
static void* new_stack(unsigned char* bottom, std::size_t size, void (*function)()) {
    auto* top = reinterpret_cast<std::uintptr_t*>(bottom + size);
    // At the start of a function, the stack pointer is 8 below a multiple of 16.
    *--top = 0;
    *--top = reinterpret_cast<std::uintptr_t>(function);
    for (int i = 0; i < 6; ++i) {
        *--top = 0;
    }
    return top;
}

#else

static void switch_stack(void** from, void* to) {
    ucontext_t here;
    *from = &here;
    swapcontext(&here, static_cast<ucontext_t*>(to));
}

static void* new_stack(unsigned char* bottom, std::size_t size, void (*function)()) {
    // The context itself is kept at the bottom of the stack.
    auto* context = new (bottom) ucontext_t;
    getcontext(context);
    context->uc_stack.ss_sp = bottom + sizeof(ucontext_t);
    context->uc_stack.ss_size = size - sizeof(ucontext_t);
    context->uc_link = nullptr;
    makecontext(context, function, 0);
    return context;
}

#endif

Fibres::Fibres(std::size_t count) : fibres_(count) {
    // The page below each stack stays inaccessible, so that an overflow ends the program.
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    stride_ = page + STACK;
    void* memory = mmap(nullptr, count * stride_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        throw std::bad_alloc();
    }
    memory_ = static_cast<unsigned char*>(memory);
    for (std::size_t fibre = 0; fibre < count; ++fibre) {
        if (mprotect(stack(fibre), STACK, PROT_READ | PROT_WRITE) != 0) {
            munmap(memory_, count * stride_);
            throw std::bad_alloc();
        }
    }
}

Fibres::~Fibres() {
    abandon();
    munmap(memory_, fibres_.size() * stride_);
}

unsigned char* Fibres::stack(std::size_t fibre) const {
    return memory_ + fibre * stride_ + (stride_ - STACK);
}

void Fibres::prepare(std::size_t fibre, void (*function)(void*), void* argument) {
    Fibre& entry = fibres_[fibre];
    entry = Fibre{};
    entry.function = function;
    entry.argument = argument;
    entry.active = true;
    entry.stack_pointer = new_stack(stack(fibre), STACK, &Fibres::enter);
}

void Fibres::enter() {
    Fibres& self = *entering;
#ifdef EMULATION_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &self.main_bottom_, &self.main_size_);
#endif
    {
        Fibre& fibre = self.fibres_[self.current_];
        fibre.function(fibre.argument);
    }
#ifdef EMULATION_ASAN
    // Without a place to save to, the sanitizer forgets this stack.
    __sanitizer_start_switch_fiber(nullptr, self.main_bottom_, self.main_size_);
#endif
    self.fibres_[self.current_].active = false;
    switch_stack(&self.fibres_[self.current_].stack_pointer, self.main_stack_pointer_);
    __builtin_unreachable();
}

void Fibres::resume(std::size_t fibre) {
    current_ = fibre;
    entering = this;
#ifdef EMULATION_ASAN
    __sanitizer_start_switch_fiber(&main_sanitizer_, stack(fibre), STACK);
#endif
    switch_stack(&main_stack_pointer_, fibres_[fibre].stack_pointer);
#ifdef EMULATION_ASAN
    __sanitizer_finish_switch_fiber(main_sanitizer_, nullptr, nullptr);
#endif
}

void Fibres::pause() {
    Fibre& fibre = fibres_[current_];
#ifdef EMULATION_ASAN
    __sanitizer_start_switch_fiber(&fibre.sanitizer, main_bottom_, main_size_);
#endif
    switch_stack(&fibre.stack_pointer, main_stack_pointer_);
#ifdef EMULATION_ASAN
    __sanitizer_finish_switch_fiber(fibre.sanitizer, &main_bottom_, &main_size_);
#endif
}

void Fibres::abandon() {
    for (std::size_t fibre = 0; fibre < fibres_.size(); ++fibre) {
        if (fibres_[fibre].active) {
            fibres_[fibre].active = false;
#ifdef EMULATION_ASAN
            // Functions that did not return have left their variables' borders marked as inaccessible.
            __asan_unpoison_memory_region(stack(fibre), STACK);
#endif
        }
    }
}

}  // namespace emulation
