from engines.ray import *
