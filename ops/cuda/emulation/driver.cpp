// A CUDA driver library whose one device is the CPU: the functions that this project calls. Memory of the device is
// memory of the process, and a launch has ended when `cuLaunchKernel` returns.
//
// Limits are Hopper's. What a card would reject is an error here too: other images than PTX, kernels that the image does
// not have, more shared memory than was requested before, streams and contexts that do not exist.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "kernels.h"
#include "launch.h"

namespace {

// The driver's numbers of these errors.
enum Status : int {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    NOT_INITIALIZED = 3,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    LAUNCH_OUT_OF_RESOURCES = 701,
    LAUNCH_FAILED = 719,
};

struct Description {
    Status status;
    const char* name;
    const char* text;
};

const Description DESCRIPTIONS[] = {
    {SUCCESS, "CUDA_SUCCESS", "no error"},
    {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {LAUNCH_OUT_OF_RESOURCES, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
};

const Description* description(int status) {
    for (const Description& description : DESCRIPTIONS) {
        if (description.status == status) {
            return &description;
        }
    }
    return nullptr;
}

constexpr std::size_t SHARED_WITHOUT_REQUEST = 48 * 1024;

// The device's primary context, the only one.
int primary_context;

struct Function {
    std::string name;
    emulation::Kernel kernel;
    // From `.maxntid`: more threads cannot be launched.
    int most_threads;
    // From the image, which declares it.
    std::size_t static_shared;
    std::size_t dynamic_shared_limit;
};

struct Module {
    std::string image;
    std::vector<std::unique_ptr<Function>> functions;
};

std::mutex mutex;
bool initialized = false;
std::vector<std::unique_ptr<Module>> modules;
thread_local std::vector<void*> contexts;

// Handles of streams that others created: any address but null, and the default streams 0, 1 and 2.
bool is_default(const void* stream) {
    return reinterpret_cast<std::uintptr_t>(stream) <= 2;
}

Function* find(void* handle) {
    for (const auto& module : modules) {
        for (const auto& function : module->functions) {
            if (function.get() == handle) {
                return function.get();
            }
        }
    }
    return nullptr;
}

// The text of one kernel of an image in PTX; empty if it has no such kernel.
std::string entry(const std::string& ptx, const std::string& name) {
    const std::size_t start = ptx.find(".entry " + name + "(");
    if (start == std::string::npos) {
        return {};
    }
    return ptx.substr(start, ptx.find("\n}", start) - start);
}

int number_after(const std::string& text, const std::string& word, int otherwise) {
    const std::size_t at = text.find(word);
    return at == std::string::npos ? otherwise : std::atoi(text.c_str() + at + word.size());
}

// The bytes of all arrays that a kernel declares in shared memory.
std::size_t static_shared_bytes(const std::string& entry) {
    std::size_t bytes = 0;
    for (std::size_t at = 0; (at = entry.find("\n.shared ", at)) != std::string::npos; ++at) {
        const std::size_t open = entry.find('[', at);
        if (open < entry.find(';', at)) {
            bytes += static_cast<std::size_t>(std::atoi(entry.c_str() + open + 1));
        }
    }
    return bytes;
}

}  // namespace

#define DRIVER extern "C" __attribute__((visibility("default"))) int

DRIVER cuInit(unsigned flags) {
    initialized = true;
    return flags == 0 ? SUCCESS : INVALID_VALUE;
}

DRIVER cuDriverGetVersion(int* version) {
    *version = 13000;
    return SUCCESS;
}

DRIVER cuGetErrorName(int status, const char** name) {
    const Description* found = description(status);
    *name = found == nullptr ? nullptr : found->name;
    return found == nullptr ? INVALID_VALUE : SUCCESS;
}

DRIVER cuGetErrorString(int status, const char** text) {
    const Description* found = description(status);
    *text = found == nullptr ? nullptr : found->text;
    return found == nullptr ? INVALID_VALUE : SUCCESS;
}

DRIVER cuDeviceGetCount(int* count) {
    *count = 1;
    return initialized ? SUCCESS : NOT_INITIALIZED;
}

DRIVER cuDeviceGet(int* device, int index) {
    *device = 0;
    return !initialized ? NOT_INITIALIZED : index == 0 ? SUCCESS : INVALID_DEVICE;
}

DRIVER cuDeviceGetName(char* name, int length, int device) {
    if (device != 0) {
        return INVALID_DEVICE;
    }
    std::snprintf(name, static_cast<std::size_t>(length), "CPU that executes CUDA kernels");
    return SUCCESS;
}

DRIVER cuDeviceGetAttribute(int* value, int attribute, int device) {
    if (device != 0) {
        return INVALID_DEVICE;
    }
    switch (attribute) {
        case 1:  // MAX_THREADS_PER_BLOCK
            *value = emulation::MOST_THREADS;
            return SUCCESS;
        case 8:  // MAX_SHARED_MEMORY_PER_BLOCK
            *value = static_cast<int>(SHARED_WITHOUT_REQUEST);
            return SUCCESS;
        case 10:  // WARP_SIZE
            *value = emulation::WARP;
            return SUCCESS;
        case 16:  // MULTIPROCESSOR_COUNT
            *value = 132;
            return SUCCESS;
        case 75:  // COMPUTE_CAPABILITY_MAJOR
            *value = 9;
            return SUCCESS;
        case 76:  // COMPUTE_CAPABILITY_MINOR
            *value = 0;
            return SUCCESS;
        case 97:  // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
            *value = static_cast<int>(emulation::MOST_SHARED_BYTES);
            return SUCCESS;
        default:
            return INVALID_VALUE;
    }
}

DRIVER cuDevicePrimaryCtxGetState(int device, unsigned* flags, int* active) {
    *flags = 0;
    *active = 1;
    return device == 0 ? SUCCESS : INVALID_DEVICE;
}

DRIVER cuDevicePrimaryCtxRetain(void** context, int device) {
    *context = &primary_context;
    return device == 0 ? SUCCESS : INVALID_DEVICE;
}

DRIVER cuCtxGetCurrent(void** context) {
    *context = contexts.empty() ? nullptr : contexts.back();
    return initialized ? SUCCESS : NOT_INITIALIZED;
}

DRIVER cuCtxPushCurrent_v2(void* context) {
    if (context != &primary_context) {
        return INVALID_CONTEXT;
    }
    contexts.push_back(context);
    return SUCCESS;
}

DRIVER cuCtxPopCurrent_v2(void** context) {
    if (contexts.empty()) {
        return INVALID_CONTEXT;
    }
    *context = contexts.back();
    contexts.pop_back();
    return SUCCESS;
}

DRIVER cuCtxGetDevice(int* device) {
    *device = 0;
    return contexts.empty() ? INVALID_CONTEXT : SUCCESS;
}

DRIVER cuStreamGetCtx(void* stream, void** context) {
    *context = &primary_context;
    return is_default(stream) && contexts.empty() ? INVALID_CONTEXT : SUCCESS;
}

DRIVER cuThreadExchangeStreamCaptureMode(int* mode) {
    static thread_local int current = 0;
    if (*mode < 0 || *mode > 2) {
        return INVALID_VALUE;
    }
    std::swap(*mode, current);
    return SUCCESS;
}

DRIVER cuPointerGetAttribute(void* data, int attribute, std::uint64_t address) {
    constexpr int DEVICE_ORDINAL = 9;
    if (attribute != DEVICE_ORDINAL || address == 0) {
        return INVALID_VALUE;
    }
    *static_cast<int*>(data) = 0;
    return SUCCESS;
}

DRIVER cuMemAlloc_v2(std::uint64_t* address, std::size_t bytes) {
    // As much as cudaMalloc aligns.
    void* memory = bytes == 0 ? nullptr : std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    *address = reinterpret_cast<std::uintptr_t>(memory);
    return memory == nullptr ? INVALID_VALUE : SUCCESS;
}

DRIVER cuMemFree_v2(std::uint64_t address) {
    std::free(reinterpret_cast<void*>(address));
    return SUCCESS;
}

DRIVER cuMemcpyHtoD_v2(std::uint64_t to, const void* from, std::size_t bytes) {
    if (bytes > 0) {
        std::memcpy(reinterpret_cast<void*>(to), from, bytes);
    }
    return SUCCESS;
}

DRIVER cuMemcpyDtoH_v2(void* to, std::uint64_t from, std::size_t bytes) {
    if (bytes > 0) {
        std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
    }
    return SUCCESS;
}

DRIVER cuModuleLoadData(void** module, const void* image) {
    if (contexts.empty()) {
        return INVALID_CONTEXT;
    }
    const std::string text = static_cast<const char*>(image);
    if (text.find(".version ") == std::string::npos || text.find(".target sm_") == std::string::npos) {
        return INVALID_IMAGE;
    }
    const std::lock_guard<std::mutex> lock(mutex);
    modules.push_back(std::make_unique<Module>());
    modules.back()->image = text;
    *module = modules.back().get();
    return SUCCESS;
}

DRIVER cuModuleGetFunction(void** function, void* handle, const char* name) {
    const std::lock_guard<std::mutex> lock(mutex);
    for (const auto& module : modules) {
        if (module.get() != handle) {
            continue;
        }
        const std::string text = entry(module->image, name);
        const emulation::Kernel kernel = emulation::find_kernel(name);
        if (text.empty() || kernel == nullptr) {
            return NOT_FOUND;
        }
        auto created = std::make_unique<Function>();
        created->name = name;
        created->kernel = kernel;
        created->most_threads = number_after(text, ".maxntid ", emulation::MOST_THREADS);
        created->static_shared = static_shared_bytes(text);
        created->dynamic_shared_limit = SHARED_WITHOUT_REQUEST - std::min(SHARED_WITHOUT_REQUEST, created->static_shared);
        *function = created.get();
        module->functions.push_back(std::move(created));
        return SUCCESS;
    }
    return INVALID_HANDLE;
}

DRIVER cuFuncSetAttribute(void* handle, int attribute, int value) {
    constexpr int MAX_DYNAMIC_SHARED_SIZE_BYTES = 8;
    const std::lock_guard<std::mutex> lock(mutex);
    Function* function = find(handle);
    if (function == nullptr) {
        return INVALID_HANDLE;
    }
    const std::size_t bytes = static_cast<std::size_t>(value);
    if (attribute != MAX_DYNAMIC_SHARED_SIZE_BYTES || value < 0 ||
        function->static_shared + bytes > emulation::MOST_SHARED_BYTES) {
        return INVALID_VALUE;
    }
    function->dynamic_shared_limit = bytes;
    return SUCCESS;
}

DRIVER cuLaunchKernel(void* handle, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                      unsigned block_y, unsigned block_z, unsigned shared, void*, void** parameters, void** extra) {
    std::string name;
    emulation::Kernel kernel;
    {
        const std::lock_guard<std::mutex> lock(mutex);
        const Function* function = find(handle);
        if (function == nullptr) {
            return INVALID_HANDLE;
        }
        if (contexts.empty()) {
            return INVALID_CONTEXT;
        }
        const bool one_dimension = grid_y == 1 && grid_z == 1 && block_y == 1 && block_z == 1;
        if (!one_dimension || grid_x < 1 || grid_x > 0x7fffffff || block_x < 1 ||
            shared > function->dynamic_shared_limit || parameters == nullptr || extra != nullptr) {
            return INVALID_VALUE;
        }
        if (block_x > static_cast<unsigned>(function->most_threads)) {
            return LAUNCH_OUT_OF_RESOURCES;
        }
        name = function->name;
        kernel = function->kernel;
    }
    Arguments arguments;
    std::memcpy(&arguments, parameters[0], sizeof(arguments));
    try {
        const emulation::Grid grid{static_cast<int>(grid_x), static_cast<int>(block_x), shared};
        emulation::launch(name, grid, {}, [&] { kernel(arguments); });
    } catch (const emulation::Failure& failure) {
        // The driver's functions return numbers only.
        std::fprintf(stderr, "%s\n", failure.what());
        return LAUNCH_FAILED;
    }
    return SUCCESS;
}
