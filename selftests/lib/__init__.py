# SPDX-License-Identifier: Apache-2.0
"""Python half of the test library; selftests/system/conftest.py puts its parent on sys.path."""
