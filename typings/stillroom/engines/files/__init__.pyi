from engines.files import *
