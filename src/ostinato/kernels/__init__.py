"""Kernels: the time loop, several ways, and the losses that need one."""
