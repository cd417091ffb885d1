from engines.files.pulling import *
