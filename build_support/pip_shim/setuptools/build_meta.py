"""A build backend that only reads: the metadata of a source distribution is its PKG-INFO."""

import email.parser
import os
import shutil
import sys


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    with open("PKG-INFO", encoding="utf-8") as file:
        headers = email.parser.HeaderParser().parse(file)
    name = headers["Name"].replace("-", "_")
    folder = "{}-{}.dist-info".format(name, headers["Version"])
    os.makedirs(os.path.join(metadata_directory, folder))
    shutil.copy("PKG-INFO", os.path.join(metadata_directory, folder, "METADATA"))
    return folder


__legacy__ = sys.modules[__name__]  # the backend of an archive without pyproject.toml
