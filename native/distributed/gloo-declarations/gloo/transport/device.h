// See README.md two folders above.
#pragma once

#include <memory>

namespace gloo {
namespace transport {

class Device;
class UnboundBuffer;

} // namespace transport
} // namespace gloo
