// The kernels of `kernels/*.cu`, by name.
#pragma once

#include <string>

#include "../kernels/arguments.h"

namespace emulation {

using Kernel = void (*)(Arguments);

// Null if there is none with this name.
Kernel find_kernel(const std::string& name);

}  // namespace emulation
