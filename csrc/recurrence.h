// Recurrences of two states over time, many waves at once.
#pragma once

#include "checks.h"

namespace metaphys {

Tensor recurrence_solve(Tensor d, Tensor b, Tensor matrix, Tensor kick);

Tensor recurrence_loaded(Tensor u, Tensor matrix, Tensor kick, Tensor offset, Tensor slope);

}  // namespace metaphys
