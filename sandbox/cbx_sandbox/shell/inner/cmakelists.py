"""CMakeLists.txt, as far as it writes into the directory of the build and nowhere else."""

from __future__ import annotations

import re

from cbx_sandbox.shell.expressions import expression

_COMMENT = expression(r"#\[(=*)\[.*?(?:\]\1\]|\Z)|#[^\n]*", re.DOTALL)
_CALL = expression(r"(?<!\w)([A-Za-z_]\w*)\s*\(([^()]*)")
# Commands that look, compute, or say what is to be built; find_package executes the modules that come with CMake.
_PLAIN = frozenset(
    """cmake_minimum_required project set unset option message if elseif else endif foreach endforeach while endwhile
    break continue list string math get_filename_component cmake_path cmake_policy add_executable add_library
    add_dependencies add_definitions add_compile_options add_compile_definitions add_link_options include_directories
    link_directories link_libraries target_link_libraries target_include_directories target_compile_options
    target_compile_definitions target_compile_features target_link_options target_sources target_precompile_headers
    set_target_properties set_property get_property get_target_property set_source_files_properties set_tests_properties
    find_package find_library find_path find_program find_file enable_testing add_test install enable_language
    mark_as_advanced source_group export_compile_commands""".split()
)
_MODULES = frozenset(
    """CTest GNUInstallDirs CMakePackageConfigHelpers CheckCCompilerFlag CheckCXXCompilerFlag CheckIncludeFile
    CheckSymbolExists
    CheckFunctionExists CheckTypeSize CMakeDependentOption FeatureSummary GenerateExportHeader""".split()
)
_OWN_MODULES = ("CMAKE_MODULE_PATH", "_INCLUDE", "TOOLCHAIN", "CMAKE_PREFIX_PATH", "_LAUNCHER", "_DIR ")


def within(text: str) -> list[str] | None:
    """Return the directories whose own lists are read; None where it may write elsewhere, or execute something."""
    plain = _COMMENT.sub("", text)
    if any(name in plain for name in _OWN_MODULES) or "$ENV" in plain:
        return None
    directories = []
    for name, words in _CALL.findall(plain):
        first = (words.split() or [""])[0].strip('"')
        match name.lower():
            case command if command in _PLAIN:
                pass
            case "include" if first in _MODULES:
                pass
            case "configure_file" if _beneath((words.split() or [""])[1:2]):
                pass
            case "add_subdirectory" if len(words.split()) == 1 and _beneath([first]):
                directories.append(first)
            case command if command in {"and", "or", "not"}:  # within a condition
                pass
            case _:
                return None
    return directories


def _beneath(words: list[str]) -> bool:
    """Whether a word is a relative path that stays where it is."""
    return bool(words) and re.fullmatch(r"[\w.+-]+(?:/[\w.+-]+)*", words[0]) is not None and ".." not in words[0]
