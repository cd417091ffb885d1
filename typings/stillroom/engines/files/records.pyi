from engines.files.records import *
