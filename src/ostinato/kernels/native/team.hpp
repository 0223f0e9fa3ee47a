#pragma once
#include <functional>

#include "layer.hpp"

namespace ostinato {

// function(0) … function(threads − 1), at the same time: they may wait for each other.
void parallel(int threads, const std::function<void(int)>& function);

}  // namespace ostinato
