from engines.files.places import *
